// The maps of show.h, drawn.
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "lib/base/units.h"
#include "tools/mcp_tune/show.h"

namespace mcp::internal {
namespace {

// Pixels.
constexpr int kCell = 26;
constexpr int kLeft = 90;
constexpr int kTop = 56;
constexpr int kPanelHead = 24;
constexpr int kPanelGap = 40;  // room for the sizes below a panel
constexpr int kColumns = 17;   // sizes
static_assert(kMapBytesMin << (kColumns - 1) == kMapBytesMax);

struct Colour {
  char letter;
  const char* name;
  const char* fill;
};
// Told apart by colour-blind readers, too (Okabe and Ito).
constexpr Colour kColours[] = {
    {'B', "bulk", "#0072b2"}, {'S', "stream", "#e69f00"}, {'E', "eager", "#009e73"}, {'R', "replica", "#cc79a7"}};
constexpr const char* kUnknown = "#999999";

std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

void AddText(std::string* svg, int x, int y, const std::string& text) {
  absl::StrAppendFormat(svg, "<text x=\"%d\" y=\"%d\">%s</text>\n", x, y, Escape(text));
}

void AddCell(std::string* svg, int x, int y, char winner) {
  const char letter = absl::ascii_toupper(static_cast<unsigned char>(winner));
  const char* fill = kUnknown;
  for (const Colour& colour : kColours) {
    if (colour.letter == letter) fill = colour.fill;
  }
  absl::StrAppendFormat(svg, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\" fill-opacity=\"%s\"/>\n",
                        x, y, kCell - 1, kCell - 1, fill, letter == winner ? "1" : "0.4");
}

// Returns where the next panel begins.
int AddPanel(std::string* svg, int y, const MapPanel& panel) {
  AddText(svg, kLeft, y + kPanelHead - 8, panel.path);
  y += kPanelHead;
  for (const ProfilePoint* point : panel.points) {
    AddText(svg, 8, y + kCell - 8, absl::StrFormat("loss %g", point->path.loss));
    for (int column = 0; column < kColumns; ++column) {
      AddCell(svg, kLeft + column * kCell, y, Winner(*point, kMapBytesMin << column));
    }
    y += kCell;
  }
  for (int column = 0; column < kColumns; column += 4) {
    AddText(svg, kLeft + column * kCell, y + 16, FormatBytes(kMapBytesMin << column));
  }
  return y + kPanelGap;
}

}  // namespace

std::string ShowSvg(const Profile& profile) {
  const std::vector<MapPanel> panels = MapPanels(profile);
  int height = kTop;
  for (const MapPanel& panel : panels) {
    height += kPanelHead + kPanelGap + static_cast<int>(panel.points.size()) * kCell;
  }
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      kLeft + kColumns * kCell + 16, height);
  AddText(&svg, 8, 18, absl::StrCat("Which protocol wins, by size and loss; pale: by less than 5 %. ", profile.origin));
  int x = kLeft;
  for (const Colour& colour : kColours) {
    AddCell(&svg, x, 26, colour.letter);
    AddText(&svg, x + kCell + 4, 26 + kCell - 8, colour.name);
    x += 4 * kCell;
  }
  int y = kTop;
  for (const MapPanel& panel : panels) y = AddPanel(&svg, y, panel);
  return svg + "</svg>\n";
}

}  // namespace mcp::internal
