"""Renders tables as LaTeX, for the packages booktabs and graphicx."""

from __future__ import annotations

import itertools
import re
import unicodedata

from results.tables.lines import body, heading, title
from results.tables.model import Table

_TEX = {
    "\\": r"\textbackslash{}", "–": r"\textendash{}", "−": "$-$", "—": r"\textemdash{}",
    "±": r"$\pm$", "·": r"$\cdot$", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": "'", "'": "'",
    "τ": r"$\tau$", "γ": r"$\gamma$", "α": r"$\alpha$", "φ": r"$\varphi$", "ψ": r"$\psi$", "…": r"\ldots{}", "’": "'",
    "ⁿ": "$^n$", **{mark: "\\" + mark for mark in "&%$#_{}"},
}  # fmt: skip


_MINUS = re.compile(r"(?<![\w.-])-(?=\d)")


def tex(text: str) -> str:
    """Return a text escaped for LaTeX; a letter that pdfLaTeX lacks becomes its nearest ASCII one, else its code point."""
    text = _MINUS.sub("−", " ".join(text.split()))
    return "".join(_TEX.get(c) or (c if c.isascii() else _ascii(c)) for c in text).replace("--", "-{}-")


def _ascii(letter: str) -> str:
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain or f"U+{ord(letter):04X}"


def to_latex(tables: list[Table]) -> str:
    """Return tables as LaTeX, for the packages booktabs and graphicx; a column's best mean is bold, the second underlined."""
    return "% needs \\usepackage{booktabs,graphicx}\n" + "\n".join(map(_latex_table, tables))


def _latex_table(table: Table) -> str:
    first = len(table.settings) + 1
    head = heading(table)
    align = "".join("l" if index < first - 1 else "r" for index in range(len(head)))
    caption = f"{title(table)}: top-1 accuracy in percent, mean ± standard deviation over n seeds."
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{tex(caption)}}}\smallskip"]
    lines.append(r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%")  # no wider than the page
    lines += [rf"\begin{{tabular}}{{{align}}}", r"\toprule", *_latex_head(table), r"\midrule"]
    for line in body(table):
        cells = [_latex_cell(t, m, index >= first) for index, (t, m) in enumerate(zip(line.texts, line.marks, strict=True))]
        cells = [rf"{{\scriptsize\itshape {c}}}" if line.row is None and c else c for c in cells]
        lines.append("{}" + " & ".join(cells) + r" \\")  # a row that began with [ or * would be taken for an option of the last
    lines += [r"\bottomrule", r"\end{tabular}}"]
    if table.notes:
        notes = r"\par ".join(tex(n).replace("/", r"/\allowbreak{}") for n in table.notes)
        lines.append(rf"\par\medskip\parbox{{\textwidth}}{{\raggedright\footnotesize {notes}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_cell(text: str, mark: str, is_score: bool) -> str:
    """Return a cell; a score's standard deviation is small, its mark around the mean alone."""
    mean, plus_minus, rest = text.partition(" ± ") if is_score else (text, "", "")
    wrap = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}[mark]
    return wrap % tex(mean) + (rf" {{\scriptsize$\pm$\,{tex(rest)}}}" if plus_minus else "")


def _latex_head(table: Table) -> list[str]:
    """Return the header's lines; a dataset's name stands once over its epochs."""
    parts = [c.rpartition(" @") for c in table.columns]
    names = [dataset for dataset, _, _ in parts]
    fixed = [*table.settings, "n"]
    if not all(names) or table.compared:
        return [" & ".join(map(tex, heading(table))) + r" \\"]
    runs = [(name, len(list(members))) for name, members in itertools.groupby(names)]
    upper = [*[""] * len(fixed), *(rf"\multicolumn{{{count}}}{{c}}{{{tex(name)}}}" for name, count in runs)]
    rules, start = [], len(fixed) + 1
    for _, count in runs:
        rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    lower = [*map(tex, fixed), *(f"{tex(epoch)} epochs" for _, _, epoch in parts)]
    return [" & ".join(upper) + r" \\", " ".join(rules), " & ".join(lower) + r" \\"]
