"""The frame and the style of a page of the Data Docs (Jinja and CSS, without network or script)."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1.0">
<title>{{ page_title }} – Data Docs</title>
<style>{% include 'standalone.css' %}</style>
</head>
<body>
<header><b>Data Docs</b>{% if not index %} <a href="index.html">Overview</a>{% endif %}
<span>{{ page_title }}</span></header>
<main>
{% if sections | length > 1 %}<nav>{% for section in sections %}
<a href="#section-{{ loop.index }}">{{ section["section_name"] }}</a>{% endfor %}</nav>{% endif %}
<div class="sections">
{% for section in sections %}{% set section_loop = loop %}{% include 'section.j2' %}{% endfor %}
</div>
</main>
<footer>Rendered with Great Expectations {{ ge_version }}</footer>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #1a7f37; --bad: #cf222e; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
header, footer { padding: .8rem 1.5rem; border-bottom: 1px solid var(--line); }
header a, header span { margin-left: 1rem; }
footer { border: 0; opacity: .7; font-size: .85rem; }
main { display: flex; gap: 2rem; padding: 1.5rem; align-items: flex-start; }
nav { position: sticky; top: 1rem; flex: 0 0 14rem; font-size: .9rem; }
nav a { display: block; padding: .15rem 0; }
.sections { flex: 1; min-width: 0; }
.ge-section { margin-bottom: 1.5rem; }
h5, h6 { margin: 0 0 .4rem; font-size: 1.05rem; }
h6 { font-size: .95rem; }
.alert { padding: .6rem .8rem; background: var(--soft); border-left: 3px solid var(--line); }
table { border-collapse: collapse; width: 100%; margin: .3rem 0 .6rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; }
td .show-scrollbars { overflow-wrap: anywhere; }
.table-sm td .show-scrollbars { min-width: 10rem; }
th, td { border-bottom: 1px solid var(--line); }
thead[hidden] { display: none; }
.table-bordered { width: auto; font-size: .9rem; }
.show-scrollbars { max-height: 24rem; overflow: auto; }
.badge { padding: 0 .35rem; border-radius: .3rem; background: var(--soft); }
.text-success { color: var(--good); }
.text-danger { color: var(--bad); }
.text-warning { color: #9a6700; }
i.fa-check-circle::before { content: "\\2714"; }
i.fa-times::before { content: "\\2718"; }
i.fa-exclamation-triangle::before { content: "\\26A0"; }
i { font-style: normal; }
@media (max-width: 50rem) {
  main { display: block; padding: 1rem; }
  nav { position: static; margin-bottom: 1rem; }
  .table-sm td .show-scrollbars { min-width: 0; }
}
"""
