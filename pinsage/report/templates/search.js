// The search narrows queries and neighbours to those that hold the text; all of it is text nodes.
{
  const input = document.getElementById("search");
  const count = document.getElementById("search-count");
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const cards = [...document.querySelectorAll(".query")].map((card) => ({
    card,
    open: card.open,
    head: entry(card.querySelector("summary .of")),
    items: [...card.querySelectorAll("li")].map((li) => ({ li, ...entry(li) })),
  }));

  function entry(element) {
    const title = element.querySelector(".title");
    const words = [title, ...element.querySelectorAll("bdi")].map((each) => each.textContent);
    return { title, text: title.textContent, plain: plain(words.join("\n")) };
  }

  // Marks where the text stands in a title; a title whose case changes its length is left as it is.
  function mark({ title, text }, wanted) {
    const place = wanted && text.toLowerCase().length === text.length
      ? text.toLowerCase().indexOf(wanted.toLowerCase()) : -1;
    if (place < 0) {
      if (title.firstElementChild) title.textContent = text;
      return;
    }
    const found = document.createElement("mark");
    found.textContent = text.slice(place, place + wanted.length);
    title.replaceChildren(text.slice(0, place), found, text.slice(place + wanted.length));
  }

  function search() {
    const wanted = input.value.trim();
    const key = plain(wanted);
    let queries = 0, neighbours = 0;
    for (const { card, open, head, items } of cards) {
      const own = head.plain.includes(key);
      let inside = 0;
      for (const item of items) {
        const hit = item.plain.includes(key);
        inside += hit;
        item.li.classList.toggle("faint", Boolean(key) && !hit && !own);
        mark(item, wanted);
      }
      mark(head, wanted);
      card.hidden = !(own || inside);
      card.open = key ? inside > 0 : open;
      queries += !card.hidden;
      neighbours += inside;
    }
    count.textContent = key ? `${queries} of ${cards.length} items, ${neighbours} neighbours` : "";
  }

  input.closest("label").hidden = false;
  input.addEventListener("input", search);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { input.value = ""; search(); }
  });
}
