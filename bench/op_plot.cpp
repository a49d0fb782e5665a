// The plot of op_times.h: one panel a profile, two bars a panel, one scale for both bars.
#include <algorithm>

#include "op_times.h"
#include "values.h"

namespace dsv3::bench {
namespace {

constexpr double kPanelWidth = 560.0;
constexpr double kPanelHeight = 460.0;
constexpr double kBarTop = 56.0;
constexpr double kBarHeight = 360.0;
constexpr double kBarWidth = 70.0;
constexpr double kMeasuredX = 20.0;
constexpr double kFloorX = 110.0;
constexpr double kLegendX = 200.0;
constexpr double kLegendLine = 18.0;

constexpr const char* kColours[] = {"#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f",
                                    "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac",
                                    "#2f4b7c", "#a05195", "#d45087", "#665191", "#ffa600"};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string label(double x, double y, const std::string& text) {
  return print("<text x=\"%.1f\" y=\"%.1f\">", x, y) + escaped(text) + "</text>\n";
}

// One piece of a bar that ends at `bottom`; returns its height.
double piece(double x, double bottom, double height, size_t colour, std::string* out) {
  *out += print(
      "<rect x=\"%.1f\" y=\"%.2f\" width=\"%.1f\" height=\"%.2f\" fill=\"%s\" stroke=\"white\" "
      "stroke-width=\"0.5\"/>\n",
      x, bottom - height, kBarWidth, height, kColours[colour % std::size(kColours)]);
  return height;
}

// Ops from the slowest to the fastest: what matters lies at the bottom and is named first.
std::string panel(const OpProfile& profile) {
  std::vector<OpTime> ops = profile.ops;
  std::stable_sort(ops.begin(), ops.end(),
                   [](const OpTime& a, const OpTime& b) { return a.seconds > b.seconds; });
  double measured = 0.0;
  double floors = 0.0;
  for (const OpTime& op : ops) {
    measured += op.seconds;
    floors += op.floor_seconds(profile.ceilings);
  }
  const double scale = kBarHeight / std::max({measured, floors, 1e-12});
  std::string out = label(kMeasuredX, 20.0,
                          profile.model + " " + profile.dtype + ", " + profile.asked.name() +
                              print(", %u threads", profile.threads));
  out += label(kMeasuredX, kBarTop - 8, print("%.2f ms", measured * 1e3));
  out += label(kFloorX, kBarTop - 8, print("floor %.2f ms", floors * 1e3));
  double measured_at = kBarTop + kBarHeight;
  double floor_at = measured_at;
  double legend_at = kBarTop + 10.0;
  for (size_t i = 0; i < ops.size(); ++i) {
    const double floor = ops[i].floor_seconds(profile.ceilings);
    measured_at -= piece(kMeasuredX, measured_at, ops[i].seconds * scale, i, &out);
    floor_at -= piece(kFloorX, floor_at, floor * scale, i, &out);
    out += print("<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"%s\"/>\n", kLegendX,
                 legend_at - 10.0, kColours[i % std::size(kColours)]);
    out += label(kLegendX + 18.0, legend_at,
                 ops[i].name + print(": %.0f us, %.2f x floor", ops[i].seconds * 1e6,
                                     ops[i].seconds / std::max(floor, 1e-12)));
    legend_at += kLegendLine;
  }
  return out;
}

}  // namespace

std::string profile_plot(const std::vector<OpProfile>& profiles) {
  constexpr size_t kColumns = 2;
  const size_t columns = std::clamp<size_t>(profiles.size(), 1, kColumns);
  const size_t rows = std::max<size_t>(1, (profiles.size() + columns - 1) / columns);
  std::string out = print(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
      "fill=\"white\"/>\n",
      kPanelWidth * static_cast<double>(columns), kPanelHeight * static_cast<double>(rows));
  for (size_t i = 0; i < profiles.size(); ++i) {
    const size_t row = i / columns;
    out += print("<g transform=\"translate(%.0f %.0f)\">\n",
                 kPanelWidth * static_cast<double>(i % columns),
                 kPanelHeight * static_cast<double>(row));
    out += panel(profiles[i]) + "</g>\n";
  }
  return out + "</svg>\n";
}

}  // namespace dsv3::bench
