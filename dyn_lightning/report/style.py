"""How the page looks: on paper white or dark as its reader has it, wide or narrow. Nothing is loaded from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1b1b1b; --muted: #6a6a6a; --faint: #cfcfcf; --grid: #ebebeb;
  --rule: #1b1b1b; --link: #0b5c99; --block: #f6f6f4;
  --stripe: rgb(0 0 0 / 3.5%); --edge: rgb(0 0 0 / 28%);
  --s0: #0b6fb8; --s1: #d55e00; --s2: #009e73; --s3: #7b2d8b; --s4: #e0a000;
  --s5: #4cb0e6; --s6: #5a5a5a; --s7: #7a3b10; }
@media (prefers-color-scheme: dark) { :root { --page: #16181b; --text: #e4e4e2; --muted: #a0a3a6; --faint: #4d5155;
  --grid: #2b2f33; --rule: #b9bbbd; --link: #7cc0f5; --block: #1f2226;
  --stripe: rgb(255 255 255 / 5%); --edge: rgb(255 255 255 / 35%);
  --s0: #3f8ff0; --s1: #ff8a3d; --s2: #2fc795; --s3: #d58be8; --s4: #f5d565;
  --s5: #a5e0ff; --s6: #a8a8a8; --s7: #b9744a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 1.0625rem/1.5 Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif; overflow-wrap: break-word; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 3rem 0 .5rem; padding-top: .8rem;
  border-top: 1px solid var(--faint); }
h3 { font-size: 1.1rem; margin: 2rem 0 .25rem; }
p { margin: .4rem 0; max-width: 46rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .8rem 0 0; padding: 0; list-style: none; }
nav, table, figcaption, .caption, summary, pre, .charts, footer {
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
nav, summary { font-size: .95rem; }
.caption, figcaption { color: var(--muted); font-size: .85rem; line-height: 1.4; }
.table { margin: 1.2rem 0; }
.scroll { overflow-x: auto; margin-top: .35rem; scrollbar-width: thin; scrollbar-color: var(--muted) var(--block);
  background: linear-gradient(90deg, var(--page) 40%, transparent) left / 3rem 100% no-repeat local,
    linear-gradient(270deg, var(--page) 40%, transparent) right / 3rem 100% no-repeat local,
    linear-gradient(90deg, var(--edge), transparent) left / 1.1rem 100% no-repeat scroll,
    linear-gradient(270deg, var(--edge), transparent) right / 1.1rem 100% no-repeat scroll; }
.scroll::-webkit-scrollbar { height: .5rem; background: var(--block); }
.scroll::-webkit-scrollbar-thumb { background: var(--muted); border-radius: .25rem; }
.scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: separate; border-spacing: 0; font-size: .85rem; font-variant-numeric: tabular-nums;
  border-top: 2px solid var(--rule);
  border-bottom: 2px solid var(--rule); }
th, td { padding: .28rem .55rem; text-align: right; white-space: nowrap; vertical-align: baseline; }
th.t, td.t { text-align: left; }
tbody th { font-weight: inherit; }
thead th { font-weight: 600; vertical-align: bottom; white-space: normal; min-width: 4.2rem;
  border-bottom: 1px solid var(--rule); }
tbody tr:nth-child(even) > td { background: var(--stripe); }
tbody th, thead th:first-child { position: sticky; left: 0; background: var(--page); padding-left: .2rem; }
tbody tr:nth-child(even) > th { background: var(--block); }
td small { color: var(--muted); display: block; font-size: .74rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.6rem 2.4rem;
  align-items: start; margin: 1.2rem 0; }
figure { margin: 0; max-width: 33rem; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { fill: currentColor; }
figcaption { margin-top: .35rem; }
details { margin: .5rem 0; }
summary { cursor: pointer; padding: .15rem 0; }
pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .8rem; line-height: 1.45;
  background: var(--block); padding: .7rem .9rem; overflow-x: auto; margin: .4rem 0; }
footer { color: var(--muted); font-size: .85rem; margin-top: 3rem;
  border-top: 1px solid var(--faint); padding-top: .6rem; }
@media (max-width: 30rem) { body { font-size: 1rem; } h1 { font-size: 1.5rem; } th, td { padding: .28rem .5rem; }
  tbody th, thead th:first-child { white-space: normal; min-width: 7rem; max-width: 9rem; } }
@media print { body { max-width: none; font-size: 10pt; } .scroll { overflow: visible; } }
"""
