// Forms of items: what is shown when, rows that come and go, and what there is to pick. Without it, all fields show.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- fields that another field gives a meaning. Those that have none are not sent ---

  const says = (form, name) => {
    const field = form.elements.namedItem(name);
    if (!field) return "";
    const boxes = field instanceof RadioNodeList ? [...field] : [field];
    const box = boxes.find((each) => each.type === "checkbox");
    return box ? (box.checked ? "on" : "") : boxes[boxes.length - 1].value;
  };
  const arrange = (form) => {
    for (const part of all("[data-when]", form)) {
      const shown = part.dataset.says.split(" ").includes(says(form, part.dataset.when));
      part.hidden = !shown;
      for (const each of all("input, select, textarea, button", part)) {
        const hidden = each.closest("[data-when][hidden]");
        if (hidden && !each.disabled) {
          each.disabled = true;
          each.dataset.asleep = "";
        } else if (!hidden && "asleep" in each.dataset) {
          each.disabled = false;
          delete each.dataset.asleep;
        }
      }
    }
  };
  for (const form of all("form[data-form]")) {
    form.addEventListener("change", () => arrange(form));
    arrange(form);
    form.querySelector("[aria-invalid]")?.focus();
  }

  // --- rows ---

  let made = 1000;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-add], [data-again], [data-drop]");
    if (!button) return;
    const rows = button.closest("[data-rows]");
    if ("drop" in button.dataset) {
      const row = button.closest(".row-of");
      const left = all(":scope > .row-of", rows).length;
      if (rows.querySelector(":scope > [data-again]") && left === 1) row.querySelector("select, input").value = "";
      else row.remove();
      return;
    }
    let row;
    if ("add" in button.dataset) {
      const holder = document.createElement("template");
      holder.innerHTML = rows.querySelector(":scope > template").innerHTML.replaceAll("NEW", String(made++));
      row = holder.content.firstElementChild;
    } else {
      row = rows.querySelector(":scope > .row-of").cloneNode(true);
      const number = made++;
      for (const each of all("[id], [list]", row)) {
        if (each.id) each.id += `-${number}`;
        if (each.hasAttribute("list")) each.setAttribute("list", `${each.getAttribute("list")}-${number}`);
      }
      const field = row.querySelector("select, input");
      field.value = "";
      field.setAttribute("aria-label", `${field.getAttribute("aria-label").replace(/ \d+$/, "")} ${number - 990}`);
    }
    rows.insertBefore(row, button);
    arrange(button.form);
    row.querySelector("input:not([type=hidden]), select, textarea")?.focus();
  });

  // --- picking: what was made in another tab is there when one comes back ---

  const waiting = new Map();
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-made]");
    if (link) waiting.set(link.dataset.made, link.closest(".field"));
  });
  const options = async (kind, text = "") => {
    const answer = await fetch(`/ui/options/${kind}?q=${encodeURIComponent(text)}`);
    return answer.ok ? answer.json() : null;
  };
  window.addEventListener("focus", async () => {
    for (const [kind, asked] of waiting) {
      const found = await options(kind);
      if (!found) continue;
      for (const field of all(`[data-kind="${kind}"] select`)) {
        const known = new Set([...field.options].map((each) => each.value));
        const fresh = found.items.filter(([id]) => !known.has(id));
        for (const [id, name] of fresh) field.add(new Option(name, id));
        if (fresh.length && asked?.contains(field) && !field.value) {
          field.value = fresh[fresh.length - 1][0];
          waiting.delete(kind);
        }
      }
    }
  });
  let pause;
  document.addEventListener("input", (event) => {
    const field = event.target.closest("[data-search]");
    if (!field) return;
    clearTimeout(pause);
    pause = setTimeout(async () => {
      const found = await options(field.closest("[data-kind]").dataset.kind, field.value);
      if (found) field.list?.replaceChildren(...found.items.map(([, name]) => new Option("", name)));
    }, 200);
  });

  // --- choosing many ---

  for (const form of all("form[data-bulk]")) {
    const boxes = () => all('input[name="id"]', form);
    const count = () => {
      const chosen = boxes().filter((box) => box.checked).length;
      const told = form.querySelector("[data-chosen]");
      if (told) told.textContent = chosen ? `${chosen} chosen` : "";
      for (const button of all("button[name=verb]", form)) button.disabled = !chosen;
    };
    form.addEventListener("change", (event) => {
      if (event.target.matches("[data-all]")) for (const box of boxes()) box.checked = event.target.checked;
      count();
    });
    count();
  }
})();
