// dsv3.h - DeepSeek-V3 models inside your process. This file is the manual.
//
// A program opens a model folder, owns one context and streams tokens (samples/stream.c):
//
//     dsv3_context_options_init(&options, sizeof options);
//     options.model_path = path;
//     options.model_path_bytes = strlen(path);
//     if (dsv3_context_create(&options, &context) == DSV3_OK &&
//         dsv3_context_load(context, 0, NULL) == DSV3_OK &&
//         dsv3_sequence_create(context, NULL, &sequence) == DSV3_OK &&
//         dsv3_sequence_append_text(context, sequence, "Once", 4, 0) == DSV3_OK) {
//       dsv3_generate(context, sequence, &generate_options, NULL);  // calls you back with text
//     }
//     dsv3_context_destroy(context);
//
// CONVENTIONS, true for every function unless it says otherwise.
//
// Results: a function returns a dsv3_status; what it makes comes last, in out_ parameters. When it
// fails, these are as they were and nothing has changed. An out_ parameter that is not the only
// purpose of a call may be NULL. The reason, in words, is kept for the sequence that the call
// names, else for the context: dsv3_context_error. Every function may answer INVALID_ARGUMENT (a
// NULL, an unknown value, a stale id, a model not yet loaded), OUT_OF_MEMORY, INTERNAL, and FAULTED
// once the context is faulted; other codes are listed with the function.
//
// Structs that start with struct_size may grow at their end in later versions: store sizeof there,
// or let the _init function do it. A shorter struct of an older program keeps its meaning. A longer
// one of a newer program is accepted if what this library does not know is zero, else UNSUPPORTED.
// Structs without struct_size never change. Where there is no _init function, zero is the default
// of every field. In an array, the struct_size of the first element holds for all.
//
// Text is UTF-8 with a length in bytes; a terminating zero is neither needed nor counted. NULL with
// length 0 is empty. A call that fills a buffer of yours reports the size of the whole result, also
// when it answers LIMIT because the buffer is too small, and then writes nothing: capacity 0 asks.
//
// Memory that you pass is copied or read before the call returns; what the library hands out says
// how long it lives.
//
// Callbacks have a user_data and may have a free_user_data, which runs exactly once when the
// library is done with that user_data: also when the call that brought the struct fails, unless the
// struct could not be read. Callbacks run on a thread that is inside a call of yours, never after
// it has returned, with your floating-point settings, and must return normally.
//
// Threads: contexts are independent. Within one, each function has a calling class, given in
// brackets with the version in which it appeared:
//   ANY     any thread at any time, also in callbacks and signal handlers; takes no lock
//   SHARED  any thread, also during a STEP call and in callbacks; never waits for a pass
//   STEP    one at a time: while one runs, a second is BUSY at once, also from a callback
// Callbacks of dsv3_io, dsv3_allocator and parallel_for may call functions of class ANY only.
//
// A guest: the library never aborts, exits, prints, forks, installs handlers, reads the environment
// or keeps global state. Model files and prompts may be hostile. After fork a child must not touch
// its parent's contexts. Files used in place (DSV3_WEIGHTS_MAP) must not change while the context
// lives: truncating one raises a signal. NVIDIA's driver, used by contexts on a GPU alone, reads
// variables and keeps state of its own; what it cannot recover from is DEVICE_LOST, and contexts on
// the CPU live on.
#ifndef DSV3_H
#define DSV3_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(DSV3_BUILDING_LIBRARY)
#  define DSV3_API __declspec(dllexport)
#elif defined(_WIN32)
#  define DSV3_API __declspec(dllimport)
#elif defined(__GNUC__)
#  define DSV3_API __attribute__((visibility("default")))
#else
#  define DSV3_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

// = version and status ===========================================================================

#define DSV3_VERSION_MAJOR 0
#define DSV3_VERSION_MINOR 1
#define DSV3_VERSION_PATCH 0
#define DSV3_VERSION (DSV3_VERSION_MAJOR * 1000000 + DSV3_VERSION_MINOR * 1000 + DSV3_VERSION_PATCH)

typedef int32_t dsv3_status;
enum {
  DSV3_OK = 0,
  DSV3_INVALID_ARGUMENT = 1,  // the call is wrong: fix the program
  DSV3_INVALID_MODEL = 2,     // a file of the model is broken or contradicts another
  DSV3_UNSUPPORTED = 3,       // understood, but this version, build or machine cannot do it
  DSV3_OUT_OF_MEMORY = 4,     // nothing changed: free something and try again
  DSV3_LIMIT = 5,             // a size, count or ceiling that you can raise
  DSV3_BUSY = 6,              // not now: another call, or a running generation, is in the way
  DSV3_CANCELLED = 7,         // you asked for it
  DSV3_TIMEOUT = 8,           // a deadline between ranks has passed
  DSV3_IO = 9,                // reading failed: the same call may succeed later
  DSV3_DEVICE_LOST = 10,      // the device will not recover: destroy the context
  DSV3_FAULTED = 11,  // an earlier failure, whose message is kept, ended it: destroy the context
  DSV3_INTERNAL = 12  // a defect in the library: please report the message
};

// DSV3_VERSION of the library that is running. [ANY, 0.1]
DSV3_API int32_t dsv3_version(void);

// One line about the build: version, system, compiler, devices, the instruction sets that the CPU
// has functions for ("cpu levels: scalar avx2 avx512-bf16"). Which one a context uses is told by
// dsv3_info.device. Static text, never NULL. [ANY, 0.1]
DSV3_API const char* dsv3_build_info(void);

// "LIMIT" for DSV3_LIMIT; "UNKNOWN" for what is no status. Static text, never NULL. [ANY, 0.1]
DSV3_API const char* dsv3_status_name(dsv3_status status);

// = a context ====================================================================================

// A model with its weights, cache and threads: the only pointer handle, all else lives in it.
typedef struct dsv3_context dsv3_context;

// One file of a model in memory of yours, which is used in place and must outlive the context.
typedef struct dsv3_file {
  const char* name;  // "config.json": as it would be called in the model folder
  uint64_t name_bytes;
  const void* data;
  uint64_t data_bytes;
} dsv3_file;

#define DSV3_IO_ABSENT 1

// A model inside something that only you can read: an archive, a store. The functions return 0; a
// failure becomes the IO of the call. Unless serial, they are called from several threads.
typedef struct dsv3_io {
  uint32_t struct_size;
  int32_t serial;  // 1: never two of them at once
  // `name` is zero-terminated; DSV3_IO_ABSENT = there is no such file.
  int32_t (*open)(void* user_data, const char* name, void** out_file);
  int32_t (*size)(void* user_data, void* file, uint64_t* out_bytes);
  int32_t (*read)(void* user_data, void* file, uint64_t offset, void* out, uint64_t bytes);
  // The whole file in memory until close, or NULL when it cannot. May be NULL: weights are copied.
  const void* (*map)(void* user_data, void* file);
  void (*close)(void* user_data, void* file);
  void* user_data;
  void (*free_user_data)(void* user_data);
} dsv3_io;

// Where the big blocks come from: copied weights, cache, workspace, rings; the rest is malloc's
// (overhead_bytes of the plan). Called on any thread that works for a call of yours.
typedef struct dsv3_allocator {
  uint32_t struct_size;
  uint32_t reserved;                                                       // 0
  void* (*allocate)(void* user_data, uint64_t bytes, uint64_t alignment);  // NULL: none left
  void (*release)(void* user_data, void* block, uint64_t bytes);
  void* user_data;
  void (*free_user_data)(void* user_data);
} dsv3_allocator;

enum { DSV3_LOG_TRACE, DSV3_LOG_DEBUG, DSV3_LOG_INFO, DSV3_LOG_WARN, DSV3_LOG_ERROR, DSV3_LOG_OFF };

// Lines arrive before the call that caused them returns, in order, on its thread.
typedef struct dsv3_log {
  uint32_t struct_size;
  int32_t level;  // lines below it are not made
  void (*write)(void* user_data, int32_t level, const char* message, uint64_t message_bytes);
  void* user_data;
  void (*free_user_data)(void* user_data);
} dsv3_log;

// Called while loading, between pieces of work. Non-zero cancels the load.
typedef struct dsv3_progress {
  uint32_t struct_size;
  uint32_t reserved;  // 0
  int32_t (*report)(void* user_data, uint64_t bytes_done, uint64_t bytes_total);
  void* user_data;
  void (*free_user_data)(void* user_data);
} dsv3_progress;

// Who computes. With parallel_for the library starts no thread and hands you its loops instead.
typedef struct dsv3_threads {
  uint32_t struct_size;
  uint32_t count;          // the calling thread included; 0 = one per processor
  uint64_t affinity_mask;  // bit i: own threads may use processor i, if there is one; 0 = any
  // Calls body(body_data, task, worker) once for each task below `tasks`, on any threads, then
  // returns; worker < workers_max, never the same one twice at a time.
  void (*parallel_for)(void* user_data, uint32_t tasks,
                       void (*body)(void* body_data, uint32_t task, uint32_t worker),
                       void* body_data);
  void* user_data;
  void (*free_user_data)(void* user_data);
  uint32_t workers_max;  // with parallel_for: at least 1
  uint32_t reserved;     // 0
} dsv3_threads;

enum { DSV3_DEVICE_CPU = 0, DSV3_DEVICE_CUDA = 1 };

typedef struct dsv3_device {
  uint32_t struct_size;
  int32_t kind;       // DSV3_DEVICE_*
  int32_t ordinal;    // which one of its kind; the CPU is 0
  uint32_t reserved;  // 0
  // Ceiling on the memory taken there; 0 = none. Mapped files, and what the driver of a GPU takes
  // for itself, are not counted.
  uint64_t bytes_max;
} dsv3_device;

enum { DSV3_WEIGHTS_MAP = 0, DSV3_WEIGHTS_COPY = 1 };
enum { DSV3_DTYPE_AUTO = 0, DSV3_DTYPE_BF16 = 1, DSV3_DTYPE_F32 = 2, DSV3_DTYPE_F8_E4M3 = 3 };
enum { DSV3_OUT_OF_PAGES_PREEMPT = 0, DSV3_OUT_OF_PAGES_LIMIT = 1 };
enum { DSV3_SPECULATION_AUTO = 0, DSV3_SPECULATION_OFF = -1 };
enum { DSV3_DETERMINISM_STRICT = 0, DSV3_DETERMINISM_FAST = 1 };
// AVX2 takes F16C and FMA too. AVX512 takes F, BW, VL, DQ, VBMI and BF16: Zen 4, Sapphire Rapids
// and later. Cooper Lake, which lacks VBMI, runs AVX2.
enum { DSV3_CPU_LEVEL_BEST, DSV3_CPU_LEVEL_SCALAR, DSV3_CPU_LEVEL_AVX2, DSV3_CPU_LEVEL_AVX512 };
enum { DSV3_ACTIVATION_QUANT_NONE = 0, DSV3_ACTIVATION_QUANT_1X128 = 1 };

// How to open a model: one of the three sources, all else may stay as the _init function left it.
// What is marked (later) is UNSUPPORTED by this version unless it is 0.
typedef struct dsv3_context_options {
  uint32_t struct_size;
  // MAP uses files in place; COPY reads them into own memory: disk failures are then an IO status.
  int32_t weights;
  const char* model_path;  // a folder as downloaded from Hugging Face
  uint64_t model_path_bytes;
  const dsv3_io* io;
  const dsv3_file* files;  // [file_count]
  uint64_t file_count;
  int32_t follow_links;  // 1: files may be links to outside of the folder, as in a download cache
  int32_t weight_dtype;  // AUTO: each tensor as stored; others (later)
  // Ceilings on each JSON text (also safetensors headers) and on the number of tensors; 0 = ours.
  uint64_t json_bytes_max;
  uint64_t tensors_max;
  // [device_count]; none = the CPU without a ceiling; several (later). CUDA needs compute
  // capability 8.0 and a driver for CUDA 13: else the first plan or load is UNSUPPORTED, saying
  // why.
  const dsv3_device* devices;
  uint64_t device_count;
  int32_t cpu_level;  // BEST: what the processor has; others force it, UNSUPPORTED if it has not
  // What FP8 weights are multiplied with: NONE, activations as they are; 1X128, quantised to FP8 by
  // 128 columns as in training (on GPUs of compute capability 8.9 and up; faster on Hopper).
  int32_t activation_quant;
  uint32_t sequences_max;    // that exist at once; 0 = 16
  uint32_t step_tokens_max;  // rows of one pass: more is faster for prompts, takes memory; 0 = 256
  // Room of the cache for all sequences together, in tokens or in bytes, in whole pages of 64
  // tokens. Both 0 = 8192 tokens, or the model's context length if that is less.
  uint64_t cache_tokens;
  uint64_t cache_bytes;
  int32_t
      cache_dtype;  // AUTO: as the model computes; F8_E4M3 for models in BF16: 656 bytes for 1152
  int32_t out_of_pages;  // PREEMPT the youngest sequence and recompute it later, or end it by LIMIT
  int32_t speculation;   // AUTO (OFF yet), OFF, or a number of draft tokens (later)
  int32_t determinism;   // STRICT: see dsv3_step. FAST may give it up for speed (STRICT yet)
  uint64_t host_expert_bytes;  // (later), as all down to comm_id_bytes but gpu_priority
  int32_t gpu_priority;        // 1: its work goes before that of other streams of the GPU
  uint32_t gpu_sm_percent;
  uint32_t world;  // number of ranks; 0 and 1 = alone
  uint32_t rank;
  const void* comm_id;
  uint64_t comm_id_bytes;
  const dsv3_threads* threads;      // NULL = own threads, one per processor
  const dsv3_allocator* allocator;  // NULL = malloc
  const dsv3_log* log;              // NULL = no log
  const dsv3_progress* progress;    // NULL = no reports
} dsv3_context_options;

// Fills *out_options with defaults; struct_size is the sizeof of the program. [ANY, 0.1]
DSV3_API dsv3_status dsv3_context_options_init(dsv3_context_options* out_options,
                                               uint32_t struct_size);

// Makes a context from a copy of the options: no file is opened, no thread started. Options that
// are refused (INVALID_ARGUMENT, UNSUPPORTED, LIMIT) still make one, so that dsv3_context_error can
// say why; it can only be destroyed. *out_context is NULL when `options` is, or memory ran out.
// [SHARED, 0.1]
DSV3_API dsv3_status dsv3_context_create(const dsv3_context_options* options,
                                         dsv3_context** out_context);

// Ends everything in it, without events, and frees it; NULL is fine. No other call may be inside it
// or follow: BUSY, and nothing done, from one of its callbacks. [0.1]
DSV3_API dsv3_status dsv3_context_destroy(dsv3_context* context);

// What a load will take, from the headers of the files alone.
typedef struct dsv3_plan {
  uint32_t struct_size;
  int32_t fits;  // 0: over the ceiling; a load, or one of the sequences after it, answers LIMIT
  uint64_t weights_mapped_bytes;  // used in place, in the system's page cache
  uint64_t weights_copied_bytes;  // into own memory, or the GPU's
  uint64_t cache_bytes;
  uint64_t workspace_bytes;  // activations and scratch of one pass, and the tables of the sequences
  // Estimate of what comes from malloc: threads, tokenizer, bookkeeping. On a GPU also pinned
  // buffers and what its driver takes for our kernels; the driver's own context cannot be seen.
  uint64_t overhead_bytes;
  uint64_t total_bytes;    // copied + cache + workspace: what counts against the ceiling
  uint64_t ceiling_bytes;  // 0 = none
  uint64_t cache_tokens;
} dsv3_plan;

// Answers what dsv3_context_load will take; reads no weights and keeps nothing (a driver that was
// started stays). Once loaded: what it took. Codes of dsv3_context_load. [STEP, 0.1]
DSV3_API dsv3_status dsv3_context_plan(dsv3_context* context, dsv3_plan* out_plan);

// Loads the model, about budget_us microseconds of it (0 = all); *out_done is 1 when the context is
// ready, and at once when it was. One shard's header and the tokenizer are pieces that no budget
// cuts. INVALID_MODEL, UNSUPPORTED, LIMIT, IO name file, tensor, value found and value wanted;
// CANCELLED after dsv3_cancel or by the progress callback, DEVICE_LOST when a GPU fails. After a
// failure the context holds nothing of the model, and the next call starts anew. [STEP, 0.1]
DSV3_API dsv3_status dsv3_context_load(dsv3_context* context, uint64_t budget_us,
                                       int32_t* out_done);

// Replaces the threads of a loaded context; tokens do not depend on them. NULL = one per processor.
// LIMIT for more than it was loaded with. If the new ones cannot start it goes on with the old
// ones. A context on a GPU has no threads: nothing changes. [STEP, 0.1]
DSV3_API dsv3_status dsv3_context_set_threads(dsv3_context* context, const dsv3_threads* threads);

// Copies the message of the last failed call that named `sequence`, or why its last generation
// failed; 0 = the context's own. Cut at a character to fit `capacity` and zero-terminated;
// *out_bytes is its whole length, 0 = there is none. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_context_error(dsv3_context* context, uint64_t sequence, char* buffer,
                                        uint64_t capacity, uint64_t* out_bytes);

enum { DSV3_CONTEXT_CREATED, DSV3_CONTEXT_LOADING, DSV3_CONTEXT_READY, DSV3_CONTEXT_FAULTED };

// What the context is; before it is ready only state is set. Texts live as long as the context.
typedef struct dsv3_info {
  uint32_t struct_size;
  int32_t state;        // DSV3_CONTEXT_*
  const char* family;   // "deepseek_v3" or "kimi_k2"
  const char* device;   // "cpu avx512-bf16", "cuda 0: NVIDIA H100 80GB HBM3"
  const char* chat;     // its chat format; NULL: none that we know, chat calls are UNSUPPORTED
  int32_t has_text;     // 0: tokens and logits only; text calls are UNSUPPORTED naming the file
  int32_t bos_token;    // -1 = none
  uint32_t vocab_size;  // length of the logits; ids are below
  uint32_t hidden_size;
  uint32_t layers;
  uint32_t mtp_layers;
  uint32_t experts;  // routed, per layer
  uint32_t experts_per_token;
  uint32_t context_tokens;  // the longest sequence: of the model, or of the cache if that is less
  uint32_t sequences_max;
  uint32_t step_tokens_max;
  uint32_t threads;  // 0 on a GPU
  uint64_t cache_tokens;
  int32_t cache_dtype;  // DSV3_DTYPE_*
  int32_t speculation;  // draft tokens, 0 = off
  float temperature;    // what unset sampling values mean: the model's generation_config.json
  float top_p;
  float min_p;
  float repetition_penalty;
  int32_t top_k;
  int32_t reserved;
} dsv3_info;

// Describes the context; works in every state. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_context_info(dsv3_context* context, dsv3_info* out_info);

// What the context has done since it was loaded.
typedef struct dsv3_stats {
  uint32_t struct_size;
  uint32_t sequences;  // alive now
  uint64_t load_bytes_done;
  uint64_t load_bytes_total;
  uint64_t memory_bytes;  // held now; what counts against the ceiling
  uint64_t memory_bytes_peak;
  uint64_t passes;
  uint64_t tokens_prefilled;  // recomputed ones included
  uint64_t tokens_generated;
  uint64_t tokens_recomputed;  // after a preemption
  uint64_t preemptions;
  uint64_t segment_us_max;  // longest piece without a look at the clock: how late a cancel can be
  uint64_t pass_us_last;
  uint64_t busy_us;      // computing
  uint32_t generations;  // active now
  uint32_t pages_free;
  uint32_t pages_total;
  uint32_t reserved;
  uint64_t drafts_proposed;  // speculation: 0 yet
  uint64_t drafts_accepted;
} dsv3_stats;

// Works in every state. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_context_stats(dsv3_context* context, dsv3_stats* out_stats);

// = text =========================================================================================

// NO_BOS: without the begin token of the model (which append_text adds to an empty sequence only).
// SPECIAL: control tokens spelled out in the text become tokens: not for text that you do not
// trust. Off, they stay text. For detokenize: control tokens are written out, not left out.
#define DSV3_TEXT_NO_BOS 1u
#define DSV3_TEXT_SPECIAL 2u

// Turns text into token ids. UNSUPPORTED without a tokenizer, LIMIT when capacity is too small or
// the text longer than 64 MiB, INVALID_ARGUMENT for invalid UTF-8. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_tokenize(dsv3_context* context, const char* text, uint64_t text_bytes,
                                   uint32_t flags, int32_t* tokens, uint64_t capacity,
                                   uint64_t* out_count);

// Turns token ids into text, not zero-terminated, U+FFFD for what is no UTF-8. Codes as above.
// [SHARED, 0.1]
DSV3_API dsv3_status dsv3_detokenize(dsv3_context* context, const int32_t* tokens,
                                     uint64_t token_count, uint32_t flags, char* buffer,
                                     uint64_t capacity, uint64_t* out_bytes);

typedef struct dsv3_text {
  const char* data;
  uint64_t bytes;
} dsv3_text;

enum {
  DSV3_ROLE_SYSTEM = 0,
  DSV3_ROLE_USER = 1,
  DSV3_ROLE_ASSISTANT = 2,
  DSV3_ROLE_TOOL = 3,  // the result of a tool call
  DSV3_ROLE_TOOLS = 4  // what tools there are: a JSON array of definitions in OpenAI's form
};

// A call that the assistant made earlier, as a TOOL_CALL event told it.
typedef struct dsv3_tool_call {
  dsv3_text name;
  dsv3_text arguments;  // JSON text, taken as it is
  dsv3_text id;         // where the format has one (Kimi-K2); empty: made of name and place
} dsv3_tool_call;

// `content` is text that nobody parses: control tokens spelled out in it stay text.
typedef struct dsv3_message {
  uint32_t struct_size;
  int32_t role;  // DSV3_ROLE_*
  const char* content;
  uint64_t content_bytes;
  const dsv3_tool_call* tool_calls;  // [tool_call_count] ASSISTANT: what it called after `content`
  uint64_t tool_call_count;
  dsv3_text tool_call_id;  // TOOL: which call it answers; for Kimi-K2 that of the TOOL_CALL event
} dsv3_message;

#define DSV3_CHAT_REPLY 1u  // end with the prompt for the assistant's answer
#define DSV3_CHAT_THINK 2u  // ask for reasoning first, where the format has a choice

// What the model's chat format makes of a conversation, to look at. UNSUPPORTED without a known
// format, or naming the message for which it has no place (TOOLS, tool calls); LIMIT as above;
// INVALID_ARGUMENT naming the message that is wrong: a second TOOLS, or one that is no such JSON.
// [SHARED, 0.1]
DSV3_API dsv3_status dsv3_chat_render(dsv3_context* context, const dsv3_message* messages,
                                      uint64_t message_count, uint32_t flags, char* buffer,
                                      uint64_t capacity, uint64_t* out_bytes);

// = a sequence ===================================================================================

// Tokens that grow at the end, with their place in the cache. An id, never 0 and never used again:
// a stale one is INVALID_ARGUMENT. Its owner is the context.
typedef uint64_t dsv3_sequence;

typedef struct dsv3_sequence_options {
  uint32_t struct_size;
  uint32_t tokens_max;  // its longest length; 0 = context_tokens of the context, also the most
  uint32_t events_max;  // slots of its ring of events for dsv3_next_event, 8 .. 65536; 0 = 64
  uint32_t reserved;    // 0
} dsv3_sequence_options;

// Makes an empty sequence; options NULL = defaults. LIMIT when sequences_max exist: one that was
// destroyed while a pass computes it keeps its place until that pass is over. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_sequence_create(dsv3_context* context,
                                          const dsv3_sequence_options* options,
                                          dsv3_sequence* out_sequence);

// Ends it without an event. Waits while its callback runs on another thread, never for a pass: its
// user_data may be freed afterwards. In its own callback it takes effect on return. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_sequence_destroy(dsv3_context* context, dsv3_sequence sequence);

// Appends prompt tokens; computing them is the next step's work. All or nothing: LIMIT beyond
// tokens_left, BUSY while it generates. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_sequence_append_tokens(dsv3_context* context, dsv3_sequence sequence,
                                                 const int32_t* tokens, uint64_t token_count);

// dsv3_tokenize (flags DSV3_TEXT_*), then append; the codes of both. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_sequence_append_text(dsv3_context* context, dsv3_sequence sequence,
                                               const char* text, uint64_t text_bytes,
                                               uint32_t flags);

// Appends messages in the model's chat format: only the new ones of a conversation that it holds
// already. An answer left open by a stop, a cancel or a limit is closed first, by the format's end
// mark alone: end it at TOOL_END and the tool marks stay open. It does not go through text: control
// tokens that a message spells out stay text, and no token spans two calls. An empty sequence gets
// the begin token, and so does one that holds other text only. TOOLS, and SYSTEM in DeepSeek's
// formats, belong to the first messages of a sequence: INVALID_ARGUMENT later. Codes of
// dsv3_chat_render and dsv3_sequence_append_tokens. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_sequence_append_chat(dsv3_context* context, dsv3_sequence sequence,
                                               const dsv3_message* messages, uint64_t message_count,
                                               uint32_t flags);

// Tokens in the sequence, appended and generated. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_sequence_position(dsv3_context* context, dsv3_sequence sequence,
                                            uint64_t* out_tokens);

// Tokens that may still be appended or generated. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_sequence_tokens_left(dsv3_context* context, dsv3_sequence sequence,
                                               uint64_t* out_tokens);

// FP32 logits of the token after the last, vocab_size of them, for hosts that sample themselves.
// Computes what is missing of this sequence; others progress meanwhile. LIMIT when capacity is too
// small, BUSY while it generates, INVALID_ARGUMENT when it is empty. [STEP, 0.1]
DSV3_API dsv3_status dsv3_sequence_logits(dsv3_context* context, dsv3_sequence sequence,
                                          float* out_logits, uint64_t capacity);

// = constraints ==================================================================================

// Which texts an answer may be; serves any number of generations. An id, as a sequence is.
typedef uint64_t dsv3_constraint;

enum { DSV3_CONSTRAINT_JSON_SCHEMA = 0, DSV3_CONSTRAINT_REGEX = 1 };
#define DSV3_CONSTRAINT_COMPACT 1u  // JSON_SCHEMA: without white space between its parts

typedef struct dsv3_constraint_options {
  uint32_t struct_size;
  int32_t kind;  // DSV3_CONSTRAINT_*
  // A JSON schema (draft 2020-12), of which every keyword that bears on the text is kept or
  // refused, or a regular expression (of ECMAScript, without look-around and back-references) that
  // the whole answer matches. docs/constraints.md lists what is known.
  const char* text;
  uint64_t text_bytes;
  uint32_t flags;     // DSV3_CONSTRAINT_COMPACT
  uint32_t reserved;  // 0
  // For its tables and caches, taken from malloc at once and touched as they fill; 0 = 32 MiB.
  // Compiling may take some 100 MB beside them for a moment.
  uint64_t bytes_max;
} dsv3_constraint_options;

// Compiles one. UNSUPPORTED names the keyword, or the place in the expression, that is not known;
// INVALID_ARGUMENT a text that is none, or that nothing can satisfy; LIMIT one that is too large.
// LIMIT also when 4096 exist; UNSUPPORTED without a tokenizer or an end token. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_constraint_create(dsv3_context* context,
                                            const dsv3_constraint_options* options,
                                            dsv3_constraint* out_constraint);

// Ends it; generations that use it keep what they need. [SHARED, 0.1]
DSV3_API dsv3_status dsv3_constraint_destroy(dsv3_context* context, dsv3_constraint constraint);

// = generation and events ========================================================================

enum {
  DSV3_EVENT_NONE,
  DSV3_EVENT_TEXT,
  DSV3_EVENT_TOKEN,
  DSV3_EVENT_PREFILL,
  DSV3_EVENT_END,
  DSV3_EVENT_TOOL_CALL,       // the model begins a call: text is the tool's name
  DSV3_EVENT_TOOL_ARGUMENTS,  // more of its arguments, whole UTF-8 as the model wrote it
  DSV3_EVENT_TOOL_END         // the call is over: tool_complete
};
enum { DSV3_CHANNEL_ANSWER = 0, DSV3_CHANNEL_REASONING = 1 };
enum {
  DSV3_FINISH_NONE = 0,  // not finished
  DSV3_FINISH_EOS = 1,   // the model ended its text
  DSV3_FINISH_STOP = 2,  // a stop token or string of yours; the string is not part of the text
  DSV3_FINISH_MAX_TOKENS = 3,
  DSV3_FINISH_CONTEXT_FULL = 4,  // tokens_left is 0
  DSV3_FINISH_CANCELLED = 5,
  DSV3_FINISH_ERROR = 6  // see status, and dsv3_context_error of the sequence
};
#define DSV3_TOP_LOGPROBS_MAX 20

// What happened to a sequence. Fields that a kind does not name are 0, token is -1. A token that
// ends a generation (end token or stop token) has a TOKEN event like others and stays in the
// sequence.
typedef struct dsv3_event {
  uint32_t struct_size;
  int32_t kind;
  uint64_t sequence;
  // TEXT, TOOL_CALL, TOOL_ARGUMENTS: whole UTF-8. Pushed: lives until the callback returns. Pulled:
  // until the next call that names the sequence, or takes an event of any.
  const char* text;
  uint64_t text_bytes;
  int32_t channel;        // TEXT, TOKEN: DSV3_CHANNEL_*
  int32_t finish;         // END: DSV3_FINISH_*
  int32_t status;         // END with FINISH_ERROR: why
  int32_t token;          // TOKEN; END by EOS or a stop token: that token
  uint64_t position;      // TOKEN: where it stands; END: tokens in the sequence
  uint64_t generated;     // END: tokens
  uint64_t prefill_done;  // PREFILL: tokens
  uint64_t prefill_total;
  float logprob;       // TOKEN: of the model's own distribution, before penalties and temperature
  uint32_t top_count;  // TOKEN: the likeliest tokens, as many as top_logprobs asked for
  int32_t top_tokens[DSV3_TOP_LOGPROBS_MAX];
  float top_logprobs[DSV3_TOP_LOGPROBS_MAX];
  uint32_t drafts_proposed;  // TOKEN: of speculation, 0 yet
  uint32_t drafts_accepted;
  // TOOL_CALL: how the model numbered it (Kimi-K2: "functions.name:0"), else empty; lives as text.
  dsv3_text tool_call_id;
  uint32_t tool_index;    // TOOL_*: 0 for the first call of the generation, and so on
  int32_t tool_complete;  // TOOL_END: 1 = closed as the format says; 0 = cut off or broken
} dsv3_event;

typedef struct dsv3_logit_bias {
  int32_t token;
  float bias;  // -INFINITY: never
} dsv3_logit_bias;

#define DSV3_EVENTS_TEXT 1u
#define DSV3_EVENTS_TOKEN 2u
#define DSV3_EVENTS_PREFILL 4u
// Tool calls of the model come as TOOL events, not in the text. What begins like a call but has no
// name in the form of the model's chat format is passed on as text, control tokens spelled out.
#define DSV3_EVENTS_TOOLS 8u

// The place for which a mask is asked.
typedef struct dsv3_mask_place {
  uint32_t struct_size;
  int32_t channel;  // DSV3_CHANNEL_* of what comes next, unless the token changes it
  uint64_t sequence;
  uint64_t position;      // where the token will stand
  const int32_t* tokens;  // [token_count] all that this generation has made before it
  uint64_t token_count;
  uint64_t committed_count;  // of these: had events; the rest are drafts, which may not come to be
  uint32_t* allowed;         // bit i of word i / 32: token i may come next. Clear what must not
  uint64_t vocab_size;
} dsv3_mask_place;

// How to continue a sequence. Sampling values that _init left unset (NAN, -1) mean what
// context_info says. The order is: penalties, bias, constraint and mask, temperature, top_k, top_p,
// min_p, draw.
typedef struct dsv3_generate_options {
  uint32_t struct_size;
  uint32_t events;             // DSV3_EVENTS_*; _init: TEXT. END always comes
  uint64_t max_tokens;         // 0 = no bound but the sequence's
  uint64_t seed;               // of this generation's random numbers; equal seeds give equal tokens
  float temperature;           // 0 = the likeliest token, always
  float top_p;                 // 1 = off
  float min_p;                 // 0 = off
  int32_t top_k;               // 0 = off
  float repetition_penalty;    // 1 = off: divides the logits of tokens already in the sequence
  float presence_penalty;      // _init: 0; subtracted once from tokens already generated
  float frequency_penalty;     // _init: 0; subtracted per occurrence
  uint32_t top_logprobs;       // 0 .. DSV3_TOP_LOGPROBS_MAX, in TOKEN events
  const int32_t* stop_tokens;  // [stop_token_count], at most 32
  uint64_t stop_token_count;
  const dsv3_text* stop_strings;  // [stop_string_count], at most 16 of 1 .. 256 bytes
  uint64_t stop_string_count;
  const dsv3_logit_bias* biases;  // [bias_count], at most 1024
  uint64_t bias_count;
  int32_t ignore_eos;  // 1: goes on after the model's end token
  int32_t reserved;    // 0
  // Push: gets every event during STEP calls; non-zero cancels: no more text, TOOL_END if a call is
  // open, then END. NULL = pull.
  int32_t (*callback)(void* user_data, const dsv3_event* event);
  void* user_data;
  void (*free_user_data)(void* user_data);
  // Asked before each token, during STEP calls. The answer must depend on the tokens alone: it is
  // asked for drafts, and again after a preemption. It comes after the constraint, and cannot give
  // back what that has taken. Non-zero cancels. When nothing is left to draw, the generation ends
  // with an error.
  int32_t (*mask)(void* user_data, const dsv3_mask_place* place);
  void* mask_user_data;
  void (*free_mask_user_data)(void* user_data);
  // What the answer must be, 0 = anything. Reasoning is not bound by it, if the prompt has opened
  // it. Of control tokens only the end of the text is left, once the answer is complete; an answer
  // cut off by max_tokens, a stop token or string, a full context or a cancel is a beginning of a
  // complete one. INVALID_ARGUMENT with ignore_eos.
  uint64_t constraint;  // dsv3_constraint
} dsv3_generate_options;

// Fills *out_options with defaults. [ANY, 0.1]
DSV3_API dsv3_status dsv3_generate_options_init(dsv3_generate_options* out_options,
                                                uint32_t struct_size);

// Starts a generation; options NULL = defaults. Later steps produce its events, exactly one END
// last. BUSY while one is active or has events to be taken, INVALID_ARGUMENT when empty. [SHARED,
// 0.1]
DSV3_API dsv3_status dsv3_sequence_generate(dsv3_context* context, dsv3_sequence sequence,
                                            const dsv3_generate_options* options);

// Ends the sequence's running generation as CANCELLED; its tokens so far stay. Nothing when none
// runs or the id is stale. [ANY, 0.1]
DSV3_API dsv3_status dsv3_sequence_cancel(dsv3_context* context, dsv3_sequence sequence);

// Takes the oldest event of a sequence (0 = of any) that generates without a callback, or kind
// NONE. Set out_event->struct_size. None is ever dropped: with a full ring it waits (STALLED).
// [SHARED, 0.1]
DSV3_API dsv3_status dsv3_next_event(dsv3_context* context, uint64_t sequence,
                                     dsv3_event* out_event);

// = steps ========================================================================================

enum {
  DSV3_STEP_IDLE = 0,     // nothing to do until something is appended or generated
  DSV3_STEP_READY = 1,    // more to do
  DSV3_STEP_PARTIAL = 2,  // more to do, inside a pass which the next call resumes
  DSV3_STEP_STALLED = 3   // only full rings: take events
};

// Works for about budget_us microseconds: overruns by at most one segment (segment_us_max of the
// statistics); 0 = one whole pass over all sequences that have work. OK also when a sequence fails:
// that is its END. With determinism STRICT, tokens do not depend on budgets, threads, preemption or
// what else is in the pass. TIMEOUT, DEVICE_LOST and INTERNAL make the context FAULTED: every
// generation gets END with FINISH_ERROR, and only next_event, context_error, context_info,
// context_stats and context_destroy work.
// [STEP, 0.1]
DSV3_API dsv3_status dsv3_step(dsv3_context* context, uint64_t budget_us, int32_t* out_state);

#define DSV3_RUN_WAIT 1u

// Steps until idle, stalled, interrupted or timeout_us have passed (0 = never): for a thread of its
// own. With DSV3_RUN_WAIT it sleeps while idle until there is work. Codes of dsv3_step. [STEP, 0.1]
DSV3_API dsv3_status dsv3_run(dsv3_context* context, uint64_t timeout_us, uint32_t flags,
                              int32_t* out_state);

// dsv3_sequence_generate, then steps until that generation has ended; others progress meanwhile. OK
// however it ended: see *out_finish. DSV3_FINISH_NONE: interrupted, it is still active (or its
// callback destroyed the sequence). Still active also after LIMIT: its ring is full of events to be
// pulled. Codes of both. [STEP, 0.1]
DSV3_API dsv3_status dsv3_generate(dsv3_context* context, dsv3_sequence sequence,
                                   const dsv3_generate_options* options, int32_t* out_finish);

// Ends the generations that are active now, and a load that has begun; later ones are not affected.
// [ANY, 0.1]
DSV3_API dsv3_status dsv3_cancel(dsv3_context* context);

// Makes the running step, run, generate or logits call return early, else the next one; nothing
// before the model is loaded. Ends nothing. [ANY, 0.1]
DSV3_API dsv3_status dsv3_interrupt(dsv3_context* context);

#ifdef __cplusplus
}
#endif
#endif  // DSV3_H
