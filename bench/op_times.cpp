#include "op_times.h"

#include <algorithm>
#include <cstdio>

#include "values.h"

namespace dsv3::bench {

double OpTime::floor_seconds(const Ceilings& ceilings) const {
  return std::max(cost.bytes / ceilings.read_bytes, cost.operations / ceilings.bf16_ops);
}

std::string profile_table(const OpProfile& profile) {
  char line[256];
  std::snprintf(line, sizeof(line), "%s %s, %s, %u threads: %.3f ms\n", profile.model.c_str(),
                profile.dtype.c_str(), profile.asked.name().c_str(), profile.threads,
                profile.pass_seconds * 1e3);
  std::string out = line;
  std::snprintf(line, sizeof(line), "  %-34s %5s %10s %6s %10s %8s %8s %10s %8s\n", "op", "calls",
                "us", "%", "floor us", "x floor", "MB", "alone us", "x floor");
  out += line;
  double op_seconds = 0.0;
  double floors = 0.0;
  for (const OpTime& op : profile.ops) {
    const double floor = op.floor_seconds(profile.ceilings);
    op_seconds += op.seconds;
    floors += floor;
    std::snprintf(line, sizeof(line), "  %-34s %5u %10.1f %6.1f %10.1f %8.2f %8.2f %10.1f %8.2f\n",
                  op.name.c_str(), op.calls, op.seconds * 1e6,
                  100.0 * op.seconds / profile.pass_seconds, floor * 1e6, op.seconds / floor,
                  op.cost.bytes * 1e-6, op.alone_seconds * 1e6, op.alone_seconds / floor);
    out += line;
  }
  std::snprintf(line, sizeof(line), "  %-34s %5s %10.1f %6.1f %10.1f %8.2f\n", "all ops", "",
                op_seconds * 1e6, 100.0 * op_seconds / profile.pass_seconds, floors * 1e6,
                op_seconds / floors);
  return out + line;
}

std::string profile_json(const std::vector<OpProfile>& profiles) {
  std::string out;
  char line[256];
  for (const OpProfile& profile : profiles) {
    std::snprintf(line, sizeof(line), ", \"threads\": %u, \"pass_us\": %.2f, \"ops\": [\n",
                  profile.threads, profile.pass_seconds * 1e6);
    out += std::string(out.empty() ? "" : ",\n") + "    {\"model\": " + json_string(profile.model) +
           ", \"dtype\": " + json_string(profile.dtype) +
           ", \"case\": " + json_string(profile.asked.name()) + line;
    for (size_t i = 0; i < profile.ops.size(); ++i) {
      const OpTime& op = profile.ops[i];
      std::snprintf(line, sizeof(line),
                    ", \"calls\": %u, \"us\": %.2f, \"alone_us\": %.2f, \"floor_us\": %.2f, "
                    "\"mb\": %.4f, \"mop\": %.4f}%s\n",
                    op.calls, op.seconds * 1e6, op.alone_seconds * 1e6,
                    op.floor_seconds(profile.ceilings) * 1e6, op.cost.bytes * 1e-6,
                    op.cost.operations * 1e-6, i + 1 < profile.ops.size() ? "," : "");
      out += "      {\"name\": " + json_string(op.name) + line;
    }
    out += "    ]}";
  }
  return "[\n" + out + "\n  ]";
}

}  // namespace dsv3::bench
