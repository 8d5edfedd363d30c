"""The rows of a benchmark that have a ratio, as bars on a logarithmic axis, in one SVG."""
import html
import math

BAR, GAP, LEFT, WIDTH, TOP = 16, 8, 330, 480, 34


def short(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def draw(rows, title):
    """SVG text. A bar to the left of the line at 1 is faster than what it is compared with."""
    rows = [row for row in rows if "ratio" in row]
    ratios = [row["ratio"] for row in rows] or [1]
    low = math.floor(math.log10(min([*ratios, 0.5])))
    high = math.ceil(math.log10(max([*ratios, 2])))

    def x(ratio):
        return LEFT + WIDTH * (math.log10(ratio) - low) / (high - low)

    bottom = TOP + len(rows) * (BAR + GAP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{bottom + 40}" '
             'font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="10" y="20" font-size="14">{html.escape(title)}</text>']
    for exponent in range(low, high + 1):
        at = x(10 ** exponent)
        parts.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{bottom}" stroke="{"black" if exponent == 0 else "#ddd"}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{10 ** exponent:g}</text>')
    for index, row in enumerate(rows):
        y = TOP + index * (BAR + GAP) + GAP / 2
        begin, end = sorted((x(1), x(row["ratio"])))
        colour = "#c0504d" if row.get("missed") else "#4f81bd"
        parts.append(f'<rect x="{begin:.1f}" y="{y:.1f}" width="{max(end - begin, 1):.1f}" height="{BAR}" fill="{colour}"/>')
        label = f'{row["operation"]}: {row["who"]} / {row["to"]}'
        parts.append(f'<text x="{LEFT - 8}" y="{y + 12:.1f}" text-anchor="end" font-size="10">{html.escape(label)}</text>')
        goal = f' (goal {row["goal"]})' if "goal" in row else ""
        parts.append(f'<text x="{end + 4:.1f}" y="{y + 12:.1f}">{html.escape(short(row["ratio"]) + goal)}</text>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{bottom + 34}" text-anchor="middle">ratio of medians</text></svg>')
    return "\n".join(parts) + "\n"
