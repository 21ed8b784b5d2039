"""One self-contained HTML page that shows why a passage got its score.

Knows an Explanation and how to draw it: the picture with a heat map, the words that matched, the score split into its
rows.  Knows no index and no encoder, and fetches nothing: the page carries its own picture, style and script.
Colours are set here for the score as a whole; the script only recolours while a word or a region is pointed at.
"""

from __future__ import annotations

import base64
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from flmr.errors import StorageError, UnreadableImage
from flmr.images import load_image
from flmr.records import Explanation, ImageSource, Row

PICTURE_PX = 720  # the longer side of an embedded picture: sharp at the size it is shown, small in bytes
KINDS = {"text": "words", "image": "whole picture", "region": "regions"}
MARKERS = {  # word pieces that stand for no word, and what is shown in place of those that say nothing themselves
    "[CLS]": "[CLS] begins a text",
    "[SEP]": "[SEP] ends it",
    "[unused0]": "[Q] says that it is a question",
    "[unused1]": "[D] that it is a passage",
    "[MASK]": "[MASK] fills a question up to its length",
    "[UNK]": "[UNK] stands for what the vocabulary cannot spell",
}
UNREAD_SHOWN = 200  # characters: a longer tail that no row stands for is folded away


@dataclass(frozen=True)
class Part:
    """What one kind of query row adds to the score."""

    kind: str
    rows: int
    score: float


def score_parts(explanation: Explanation) -> list[Part]:
    """The score split by kind of row, in the order of KINDS; the parts sum to the score."""
    best = _row_scores(explanation)
    kinds = np.array([row.kind for row in explanation.query_rows])
    return [Part(kind, int((kinds == kind).sum()), float(best[kinds == kind].sum())) for kind in KINDS if kind in kinds]


def explanation_document(explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON: the score, its parts, and each row of the question with what it matched."""
    scores = _row_scores(explanation)
    best = explanation.similarities.argmax(axis=1) if explanation.passage_rows else []
    matched = [explanation.passage_rows[int(i)].label for i in best] or [""] * len(scores)
    rows = zip(explanation.query_rows, scores, matched, strict=True)
    return {
        "id": explanation.hit.id,
        "rank": explanation.hit.rank,
        "score": explanation.hit.score,
        "parts": [asdict(part) for part in score_parts(explanation)],
        "rows": [
            {"kind": row.kind, "label": row.label, "adds": float(score), "matched": label} for row, score, label in rows
        ],
    }


def write_page(explanation: Explanation, path: str | Path) -> Path:
    """Write the page to `path`, making its folder; raises StorageError."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(explanation), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; choose another --out") from error
    return path


def page(explanation: Explanation) -> str:
    """The whole page as HTML."""
    hit, query = explanation.hit, explanation.query
    title = (hit.passage.title if hit.passage else "") or hit.id
    question = query.text.strip() or "(picture alone)"
    return "".join(
        [
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{escape(title)} · {escape(question)}</title><style>{STYLE}</style></head><body><main>",
            f"<header><p class='over'>Why this passage?</p><h1 dir='auto'>{escape(question)}</h1>",
            f"<p class='sub'>rank <b>{hit.rank}</b> · score <b>{hit.score:.3f}</b>",
            f" · passage <code dir='auto'>{escape(hit.id)}</code></p>",
            "<p class='sub hint'>Point at a word, a region or a row to see what it matched; click to keep it.</p>",
            "</header>",
            f"<div class='pair'><section>{_query_side(explanation)}</section>",
            f"<div><section>{_passage_side(explanation, title)}</section>",
            f"<section>{_score_split(explanation)}</section></div></div>",
            f"<section>{_row_table(explanation)}</section>",
            "<footer>The score is the sum, over the rows of the question, of the largest similarity to any row of the",
            f" passage, computed from the vectors that the index stores.{_markers(explanation)}</footer></main>",
            f"<script type='application/json' id='data'>{_data(explanation)}</script><script>{SCRIPT}</script>",
            "</body></html>\n",
        ]
    )


def _query_side(explanation: Explanation) -> str:
    heat = _spread(_row_scores(explanation), [row.kind for row in explanation.query_rows])
    picture = ""
    if explanation.query.image is not None:
        picture = _picture(explanation.query.image, explanation.query_rows, heat, _row_scores(explanation))
    text = _marked_text(explanation.query_text, explanation.query_rows, heat, "q") if explanation.query_text else ""
    return f"<h2>Question</h2>{picture}{text}"


def _passage_side(explanation: Explanation, title: str) -> str:
    share = np.zeros(len(explanation.passage_rows))
    if explanation.passage_rows:
        np.add.at(share, explanation.similarities.argmax(axis=1), np.maximum(_row_scores(explanation), 0))
    heat = np.sqrt(share / share.max()) if share.size and share.max() > 0 else share  # sqrt: a few tokens take most
    passage = explanation.hit.passage
    picture = ""
    if passage is not None and passage.image is not None:
        try:
            picture = f"<img class='small' alt='' src='{_embedded(passage.image)[1]}'>"
        except UnreadableImage as error:
            picture = f"<p class='note'>{escape(str(error))}</p>"
    pictured = [i for i, row in enumerate(explanation.passage_rows) if row.kind != "text"]
    chips = "".join(
        _chip(i, explanation.passage_rows[i], heat[i], "p", str(n)) for n, i in enumerate(pictured, start=1)
    )
    picture += f"<p class='chips image'><small>picture</small>{chips}</p>" if pictured else ""
    marked = _marked_text(explanation.passage_text, explanation.passage_rows, heat, "p")
    return f"<h2 dir='auto'>{escape(title)}</h2>{picture}{marked}"


def _picture(image: ImageSource, rows: Sequence[Row], heat: np.ndarray, scores: np.ndarray) -> str:
    regions = [(i, row) for i, row in enumerate(rows) if row.kind == "region" and row.region is not None]
    cells = []
    for i, row in regions:
        r = row.region
        assert r is not None
        box = f"x='{r.left:.5f}' y='{r.top:.5f}' width='{r.right - r.left:.5f}' height='{r.bottom - r.top:.5f}'"
        cells.append((f"<rect data-heat='q{i}' style='--h:{heat[i]:.3f}' {box}/>", f"<rect data-row='q{i}' {box}/>"))
    blur = min((row.region.right - row.region.left for _, row in regions if row.region), default=0.1) * 0.35
    whole = [i for i, row in enumerate(rows) if row.kind == "image"]
    chips = "".join(_chip(i, rows[i], heat[i], "q", str(n)) for n, i in enumerate(whole, start=1))
    shown, uri = _embedded(image)
    return (
        f"<figure><div class='frame{' heated' if regions else ''}' style='--a:{shown.width / shown.height:.4f}'>"
        f"<img alt='the picture of the question' src='{uri}'>"
        "<svg viewBox='0 0 1 1' preserveAspectRatio='none' aria-hidden='true'>"
        "<filter id='soft' x='-.2' y='-.2' width='1.4' height='1.4'>"
        f"<feGaussianBlur stdDeviation='{blur:.4f}'/></filter>"
        f"<g class='heat' filter='url(#soft)'>{''.join(heat for heat, _ in cells)}</g>"
        f"<g class='hit'>{''.join(spot for _, spot in cells)}</g></svg></div>"
        + (_legend([float(scores[i]) for i, _ in regions]) if regions else "")
        + "</figure>"
        + (f"<p class='chips image'><small>whole picture</small>{chips}</p>" if whole else "")
    )


def _legend(scores: list[float]) -> str:
    return (
        f"<figcaption><span>adds {min(scores):.2f}</span><i></i><span>{max(scores):.2f}</span>"
        "<label><input type='checkbox' id='plain'> plain picture</label></figcaption>"
    )


def _marked_text(text: str, rows: Sequence[Row], heat: np.ndarray, side: str) -> str:
    """The text with every row's characters in a span, then rows that stand for no characters as chips."""
    placed = sorted((row.span, i) for i, row in enumerate(rows) if row.kind == "text" and row.span is not None)
    starts = {span[0] for span, _ in placed}
    parts, cursor, loose = [], 0, [i for i, row in enumerate(rows) if row.kind == "text" and row.span is None]
    for (start, end), i in placed:
        if start < cursor or end <= start:
            loose.append(i)
            continue
        while end < len(text) and end not in starts and unicodedata.category(text[end])[0] == "M":
            end += 1  # accents that the tokenizer strips: cut from their letter they would be drawn alone
        gap = escape(text[cursor:start])
        parts.append(f"<span class='dim'>{gap}</span>" if gap.strip() else gap)
        parts.append(
            f"<span class='tok text' tabindex='0' data-row='{side}{i}' data-heat='{side}{i}'"
            f" style='--h:{heat[i]:.3f}'>{escape(text[start:end])}</span>"
        )
        cursor = end
    unread = f"<span class='dim'>{escape(text[cursor:])}</span>"
    if len(text) - cursor > UNREAD_SHOWN:
        note = f"{len(text) - cursor:,} characters more, which the encoder does not read"
        unread = f"<details><summary>{note}</summary>{unread}</details>"
    times = Counter(rows[i].label for i in loose)  # the same marker many times over is shown small
    chips = "".join(
        _chip(i, rows[i], heat[i], side, "·" if times[rows[i].label] > 4 else _shown(rows[i])) for i in sorted(loose)
    )
    markers = f"<p class='chips text'><small>markers</small>{chips}</p>" if chips else ""
    return f"<div class='body' dir='auto'>{''.join(parts)}{unread}</div>{markers}"


def _shown(row: Row) -> str:
    """A row's label for people: [Q] and [D] for the unused words that mark a question and a passage."""
    return MARKERS[row.label].split()[0] if row.label in MARKERS else row.label


def _markers(explanation: Explanation) -> str:
    """What the marker words on the page mean; empty where there are none."""
    labels = {row.label for row in (*explanation.query_rows, *explanation.passage_rows)}
    meant = [meaning for label, meaning in MARKERS.items() if label in labels]
    return f" {', '.join(meant)}." if meant else ""


def _chip(i: int, row: Row, heat: float, side: str, label: str) -> str:
    return (
        f"<span class='tok chip {row.kind}' tabindex='0' data-row='{side}{i}' data-heat='{side}{i}'"
        f" style='--h:{heat:.3f}' title='{escape(row.label, quote=True)}'>{escape(label)}</span>"
    )


def _score_split(explanation: Explanation) -> str:
    parts = score_parts(explanation)
    positive = sum(max(part.score, 0) for part in parts) or 1.0
    bars = "".join(
        f"<i class='{part.kind}' style='width:{100 * max(part.score, 0) / positive:.2f}%'></i>" for part in parts
    )
    cards = "".join(
        f"<div class='card {part.kind}'><span>{KINDS[part.kind]}</span><b>{part.score:.3f}</b>"
        f"<small>{part.rows} row{'s' if part.rows != 1 else ''}</small>"
        f"<small>{part.score / part.rows:.3f} each · {100 * part.score / positive:.0f}%</small></div>"
        for part in parts
    )
    return (
        f"<h2>The score, {explanation.hit.score:.3f}, and its parts</h2><div class='stack'>{bars}</div>"
        f"<div class='cards'>{cards}</div>"
    )


def _row_table(explanation: Explanation) -> str:
    scores = _row_scores(explanation)
    if not explanation.passage_rows:
        return "<h2>Row by row</h2><p class='note'>The passage has no rows.</p>"
    best = explanation.similarities.argmax(axis=1)
    top = max(float(np.abs(scores).max()), 1e-9)
    lines = []
    for place, i in enumerate(np.argsort(-scores, kind="stable"), start=1):
        row, matched = explanation.query_rows[i], explanation.passage_rows[best[i]]
        lines.append(
            f"<tr class='{row.kind}' data-row='q{i}' tabindex='0'><td>{place}</td>"
            f"<td><i></i><span>{KINDS[row.kind]}</span></td>"
            f"<td dir='auto'>{escape(_shown(row))}</td><td class='num'>{scores[i]:.3f}</td>"
            f"<td class='bar'><b style='width:{100 * max(float(scores[i]), 0) / top:.1f}%'></b></td>"
            f"<td dir='auto'>{escape(_shown(matched))}</td></tr>"
        )
    head = (
        "<tr><th></th><th colspan=2>row of the question</th><th class=num>adds</th><th></th>"
        "<th>matched in the passage</th></tr>"
    )
    shown, rest = lines[:12], lines[12:]
    more = (
        f"<details><summary>the other {len(rest)} rows</summary><table>{''.join(rest)}</table></details>"
        if rest
        else ""
    )
    return f"<h2>Row by row</h2><table><thead>{head}</thead><tbody>{''.join(shown)}</tbody></table>{more}"


def _row_scores(explanation: Explanation) -> np.ndarray:
    if not explanation.passage_rows:
        return np.zeros(len(explanation.query_rows), np.float32)
    scores: np.ndarray = explanation.similarities.max(axis=1)
    return scores


def _spread(scores: np.ndarray, kinds: list[str]) -> np.ndarray:
    """Each kind's scores stretched to 0..1: what differs within a kind is what the eye should see."""
    heat = np.zeros(len(scores))
    for kind in set(kinds):
        mine = np.array([k == kind for k in kinds])
        low, high = float(scores[mine].min()), float(scores[mine].max())
        heat[mine] = (scores[mine] - low) / (high - low) if high > low else 0.5
    return heat


def _data(explanation: Explanation) -> str:
    """What the script needs: the kinds of rows and the similarities in 8 bits, as JSON that is safe inside HTML."""
    sims = explanation.similarities
    low, high = (float(sims.min()), float(sims.max())) if sims.size else (0.0, 1.0)
    levels = np.round((sims - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    data = {
        "kinds": [row.kind for row in explanation.query_rows],
        "passage": len(explanation.passage_rows),
        "levels": base64.b64encode(levels.tobytes()).decode(),
    }
    return json.dumps(data).replace("<", "\\u003c")


def _embedded(source: ImageSource) -> tuple[Image, str]:
    """The picture at the size it is shown, and as a data URI."""
    image = load_image(source)
    image.thumbnail((PICTURE_PX, PICTURE_PX))
    small = max(image.size) <= 320  # drawings and icons: PNG keeps their edges; photographs are smaller as JPEG
    buffer = io.BytesIO()
    image.save(buffer, "PNG") if small else image.save(buffer, "JPEG", quality=88)
    return image, f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"


STYLE = """
:root{color-scheme:light dark;--bg:#faf9f6;--card:#fff;--ink:#1d1d24;--dim:#76757f;--line:#e6e3dc;
--text:#2f6fde;--image:#8a4fd3;--region:#d9720f}
@media (prefers-color-scheme:dark){:root{--bg:#131318;--card:#1c1c23;--ink:#ecebf0;--dim:#96959f;--line:#2e2e38;
--text:#6ea2ff;--image:#b98bf5;--region:#f5a14a}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:2.5rem 1.25rem}
header{margin-bottom:1.75rem}
.over{margin:0;color:var(--dim);font-size:.78rem;letter-spacing:.12em;text-transform:uppercase}
h1,h2,code,td[dir]{overflow-wrap:anywhere}
h1{margin:.15rem 0 .25rem;text-align:left;font-size:1.75rem;line-height:1.25;font-weight:650;text-wrap:balance}
h2{margin:0 0 .9rem;font-size:1.02rem;font-weight:650}
.sub{margin:0;color:var(--dim)}.sub b{color:var(--ink)}code{font-size:.9em}
.pair{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,6fr);gap:0 1.25rem;align-items:start}
@media (max-width:760px){.pair{grid-template-columns:minmax(0,1fr)}}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:1.25rem 1.4rem;
margin-bottom:1.25rem}
figure{margin:0 0 1rem}figcaption{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;color:var(--dim);
font-size:.82rem;margin-top:.5rem}
figcaption i{flex:0 1 7rem;height:.6rem;border-radius:99px;
background:linear-gradient(in oklch to right,#3b1f7a,#ffb000)}
figcaption label{margin-left:auto}.hint{margin-top:.35rem;font-size:.88rem}
.frame{position:relative;width:100%;max-width:min(420px,calc(560px*var(--a)));
border-radius:10px;overflow:hidden;border:1px solid var(--line);
background:#fff}
.frame img{display:block;width:100%}.frame svg{position:absolute;inset:0;width:100%;height:100%}
.heated img{filter:grayscale(.85) contrast(.9) brightness(1.05)}
figure:has(#plain:checked) img{filter:none}figure:has(#plain:checked) .heat{opacity:0}
.small{max-width:180px;max-height:240px;border-radius:8px;border:1px solid var(--line);margin-bottom:.75rem}
.heat rect{fill:color-mix(in oklch,#3b1f7a,#ffb000 calc(var(--h)*100%));fill-opacity:calc(.34 + .4*var(--h));
transition:fill .15s,fill-opacity .15s}
.hit rect{fill:transparent;cursor:crosshair}.hit rect.on{stroke:#fff;stroke-width:.008;paint-order:stroke}
.chips+.body{margin-top:.9rem}.body{font-size:1.06rem;line-height:1.85;white-space:pre-wrap;
overflow-wrap:anywhere}
.dim{color:var(--dim)}
.tok{--c:var(--text);border-radius:4px;padding:.08em 0;cursor:default;transition:background .15s;
background:color-mix(in srgb,var(--c) calc(var(--h)*62%),transparent)}
.tok.image{--c:var(--image)}.tok.on{outline:2px solid var(--c);outline-offset:1px}
.chips{display:flex;flex-wrap:wrap;gap:.25rem;align-items:center;margin:.75rem 0 0}
.chips small{color:var(--dim);margin-right:.35rem}
.chip{font-size:.72rem;line-height:1.3;padding:.1rem .38rem;border:1px solid var(--line);border-radius:99px}
.stack{display:flex;height:16px;border-radius:99px;overflow:hidden;gap:2px;background:var(--line)}
.stack i{display:block}.stack .text,tr.text td.bar b,tr.text td i{background:var(--text)}
.stack .image,tr.image td.bar b,tr.image td i{background:var(--image)}
.stack .region,tr.region td.bar b,tr.region td i{background:var(--region)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(120px,1fr));gap:.75rem;margin-top:1rem}
.card{border-left:3px solid var(--line);padding:.1rem .8rem}.card span,.card small{display:block;color:var(--dim);
font-size:.82rem}
.card b{font-size:1.45rem;font-weight:650;font-variant-numeric:tabular-nums}
.card.text{border-color:var(--text)}.card.image{border-color:var(--image)}.card.region{border-color:var(--region)}
table{width:100%;border-collapse:collapse;font-size:.92rem}th{text-align:left;color:var(--dim);font-weight:500;
font-size:.8rem}
td,th{padding:.28rem .5rem;border-bottom:1px solid var(--line)}tr:last-child td{border-bottom:0}
td:first-child{color:var(--dim);width:2.6rem;text-align:right;font-variant-numeric:tabular-nums}
td i{display:inline-block;width:.6rem;height:.6rem;border-radius:99px;margin-right:.5rem}
.num{text-align:right;font-variant-numeric:tabular-nums}td.bar{width:32%}td.bar b{display:block;height:9px;
border-radius:99px}
tr[data-row]:hover,tr.on{background:color-mix(in srgb,var(--ink) 6%,transparent)}
@media (max-width:620px){td:nth-child(2) span,td:first-child,th:first-child{display:none}td.bar{width:22%}
td,th{padding:.28rem .3rem}td i{margin:0}section{padding:1rem}}
summary{cursor:pointer;color:var(--dim);padding:.6rem 0 .2rem}.note,footer{color:var(--dim);font-size:.88rem}
@media print{body{background:#fff}section{break-inside:avoid}}
"""

SCRIPT = """
const data=JSON.parse(document.getElementById('data').textContent);
const levels=Uint8Array.from(atob(data.levels),c=>c.charCodeAt(0));
const heated=[...document.querySelectorAll('[data-heat]')].map(e=>[e,e.dataset.heat,e.style.getPropertyValue('--h')]);
const spots=[...document.querySelectorAll('[data-row]')];
let pinned=null;
function level(q,p){return levels[q*data.passage+p]}
function spread(values){
  const low=Math.min(...values),high=Math.max(...values);
  return values.map(v=>high>low?(v-low)/(high-low):.5);
}
function heats(name){
  const side=name[0],i=+name.slice(1),out={};
  if(side==='q'){
    const row=Array.from({length:data.passage},(_,p)=>level(i,p));
    spread(row).forEach((h,p)=>out['p'+p]=h**4);
    data.kinds.forEach((_,q)=>out['q'+q]=q===i?1:0);
  }else{
    for(const kind of new Set(data.kinds)){
      const mine=data.kinds.map((k,q)=>k===kind?q:-1).filter(q=>q>=0);
      spread(mine.map(q=>level(q,i))).forEach((h,n)=>out['q'+mine[n]]=h**2);
    }
    for(let p=0;p<data.passage;p++)out['p'+p]=p===i?1:0;
  }
  return out;
}
function show(name){
  const out=name?heats(name):null;
  for(const [e,key,h] of heated)e.style.setProperty('--h',out?out[key].toFixed(3):h);
  for(const e of spots)e.classList.toggle('on',e.dataset.row===name);
}
for(const e of spots){
  e.addEventListener('pointerenter',()=>show(e.dataset.row));
  e.addEventListener('focus',()=>show(e.dataset.row));
  e.addEventListener('pointerleave',()=>show(pinned));
  e.addEventListener('blur',()=>show(pinned));
  e.addEventListener('click',event=>{pinned=pinned===e.dataset.row?null:e.dataset.row;show(pinned);event.stopPropagation()});
}
document.addEventListener('click',()=>{pinned=null;show(null)});
document.addEventListener('keydown',event=>{if(event.key==='Escape'){pinned=null;show(null)}});
"""
