// dsv3-bench: what was asked for is run and printed. command_line.cpp knows the options.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "base/allocator.h"
#include "base/error.h"
#include "base/platform.h"
#include "base/thread_pool.h"
#include "bench.h"
#include "command_line.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_ops.h"
#include "cuda/cuda_machine.h"
#include "dsv3.h"
#include "versus.h"

namespace dsv3::bench {
namespace {

std::vector<Figure> run_ops(const Options& options, std::string* device) {
  Allocator allocator({}, 0);
  const ActivationQuant quant =
      options.one_by_128 ? ActivationQuant::k1x128 : ActivationQuant::kNone;
  if (options.device == "cuda") {
    const CudaMachine machine =
        make_cuda_machine({.ordinal = options.ordinal, .activation_quant = quant}, allocator);
    *device = machine.ops->description();
    return bench_ops(*machine.device, *machine.ops, options);
  }
  ThreadPool pool(ThreadPoolOptions{.threads = platform_processor_count()});
  CpuDevice cpu(allocator);
  const auto ops = make_cpu_ops(pool, allocator, cpu_level_best(), quant);
  *device = ops->description();
  return bench_ops(cpu, *ops, options);
}

void print(const std::vector<Figure>& figures, const std::string& device) {
  std::printf("{\n  \"build\": \"%s\",\n  \"device\": \"%s\",\n  \"figures\": [\n",
              dsv3_build_info(), device.c_str());
  for (size_t i = 0; i < figures.size(); ++i) {
    const Figure& f = figures[i];
    std::printf("    {\"name\": \"%s\", \"us\": %.3f", f.name.c_str(), f.seconds * 1e6);
    if (f.bytes > 0) std::printf(", \"gb_per_s\": %.2f", f.bytes / f.seconds * 1e-9);
    if (f.flops > 0) std::printf(", \"gflops\": %.1f", f.flops / f.seconds * 1e-9);
    if (f.ratio > 0) std::printf(", \"of_copy\": %.3f", f.ratio);
    std::printf("}%s\n", i + 1 < figures.size() ? "," : "");
  }
  std::printf("  ]\n}\n");
}

void write(const std::string& path, const std::string& text) {
  if (path == "-") {
    std::fputs(text.c_str(), stdout);
    return;
  }
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) fail(Status::kIo, "cannot write ", path);
}

void run_versus(const Options& options) {
  const VersusReport report = bench_versus(options);
  if (options.json != "-") write("-", versus_table(report));
  if (!options.json.empty()) write(options.json, versus_json(report));
}

void run_model(const Options& options) {
  const ModelReport report = bench_model(options);
  const bool has_stdout = options.json == "-" || options.csv == "-";
  if (!has_stdout) write("-", report_table(report));
  if (!options.json.empty()) write(options.json, report_json(report));
  if (!options.csv.empty()) write(options.csv, report_csv(report));
  if (!options.plot.empty()) write(options.plot, profile_plot(report.profiles));
}

void run(const CommandLine& line) {
  std::string device = line.options.device;
  if (line.command == "ops") {
    const std::vector<Figure> figures = run_ops(line.options, &device);
    print(figures, device);
  } else if (line.command == "text") {
    print(bench_text(line.options), "cpu, one thread");
  } else if (!line.options.versus.empty()) {
    run_versus(line.options);
  } else {
    run_model(line.options);
  }
}

int run(int argc, char** argv) {
  try {
    run(parse_command_line(argc, argv));
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "dsv3-bench: %s\n", error.what());
    if (error.status() != Status::kInvalidArgument) return 1;
    std::fputs(usage(), stderr);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dsv3-bench: %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace dsv3::bench

int main(int argc, char** argv) { return dsv3::bench::run(argc, argv); }
