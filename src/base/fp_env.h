// Each host call computes with round-to-nearest, no flush-to-zero and all floating-point exceptions
// masked, whatever the host had set (design §1.1); callbacks see the host's settings again.
#pragma once

#include <cstdint>

namespace dsv3 {

// Control bits of the floating-point unit, as one opaque word.
uint64_t fp_env_read();
void fp_env_write(uint64_t state);
// Round to nearest even, denormals kept, exceptions masked, sticky flags clear.
uint64_t fp_env_library();

// Installs the library's settings; restores the host's at the end of the scope.
class FpEnvScope {
 public:
  FpEnvScope() : host_(fp_env_read()) { fp_env_write(fp_env_library()); }
  ~FpEnvScope() { fp_env_write(host_); }
  FpEnvScope(const FpEnvScope&) = delete;
  FpEnvScope& operator=(const FpEnvScope&) = delete;
  uint64_t host() const { return host_; }

 private:
  uint64_t host_;
};

// Around a callback into the host: its own settings inside, ours again after.
class HostFpEnvScope {
 public:
  explicit HostFpEnvScope(uint64_t host) : library_(fp_env_read()) { fp_env_write(host); }
  ~HostFpEnvScope() { fp_env_write(library_); }
  HostFpEnvScope(const HostFpEnvScope&) = delete;
  HostFpEnvScope& operator=(const HostFpEnvScope&) = delete;

 private:
  uint64_t library_;
};

}  // namespace dsv3
