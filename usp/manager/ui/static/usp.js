// What moves by itself, and what is asked before a write. Every page works without it.
(() => {
  "use strict";
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- light or dark ---

  one("#theme")?.addEventListener("click", () => {
    const root = document.documentElement;
    root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    localStorage.setItem("usp-theme", root.dataset.bsTheme);
    document.dispatchEvent(new CustomEvent("usp:theme"));
  });

  // --- the menu on narrow screens ---

  const menu = one("#menu");
  menu?.addEventListener("click", () => {
    const open = document.body.classList.toggle("nav-open");
    menu.setAttribute("aria-expanded", String(open));
    if (open) one("#nav a")?.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.body.classList.contains("nav-open")) menu.click();
  });

  // --- how long ago ---

  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const span = (seconds) => {
    for (const [length, unit] of UNITS)
      if (seconds >= length * (length > 60 ? 2 : 1)) return `${Math.floor(seconds / length)} ${unit}`;
    return "0 s";
  };
  const tick = () => {
    const now = Date.now();
    for (const time of all("time[data-ago]")) {
      const seconds = (now - Date.parse(time.dateTime)) / 1000;
      const text = Math.abs(seconds) < 1 ? "now" : seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(tick, 5000);

  // --- asking before a write ---

  const dialog = one("#confirm");
  const ask = (text) =>
    new Promise((resolve) => {
      one("#confirm-text").textContent = text;
      dialog.returnValue = "no";
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
      dialog.showModal();
    });
  const agreed = new WeakSet();
  document.addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      const text = event.submitter?.dataset.confirm || form.dataset.confirm;
      if (!text || agreed.delete(form)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      const submitter = event.submitter;
      ask(text).then((yes) => {
        if (!yes) return;
        agreed.add(form);
        form.requestSubmit(submitter);
      });
    },
    true,
  );

  // --- messages ---

  const say = (text) => {
    if (!text) return;
    const box = document.createElement("div");
    box.className = "message message-ok";
    const line = document.createElement("p");
    line.textContent = text;
    box.append(line);
    one("#messages")?.replaceChildren(box);
  };
  document.addEventListener("note", (event) => say(event.detail?.text));

  // --- the stream of a live page ---

  const stream = one("[hx-sse\\:connect]");
  if (stream) {
    const SILENCE = 25000; // the manager says something every 10 s
    let heard = Date.now();
    const lost = (is) => {
      one("#lost").hidden = !is;
    };
    for (const name of ["htmx:sse:after:connection", "htmx:sse:after:message"])
      stream.addEventListener(name, () => {
        heard = Date.now();
        lost(false);
        if (name.endsWith("message")) tick();
      });
    stream.addEventListener("htmx:sse:error", (event) => {
      if (event.detail?.status === 401) location.reload();
      else lost(true);
    });
    stream.addEventListener("ended", () => location.reload());
    stream.addEventListener("reload", () => location.reload());
    document.addEventListener("visibilitychange", () => {
      heard = Date.now();
    });
    setInterval(() => {
      if (!document.hidden && Date.now() - heard > SILENCE) lost(true);
    }, 5000);
  }

  // --- what is inside the rows of Status that are open: asked for when one is opened, and when its line says so ---

  const servers = one("#servers");
  if (servers) {
    const AT_ONCE = 50;
    const stale = () =>
      all("details[open] > .server-body", servers).filter((body) => body.dataset.now !== body.firstElementChild.dataset.shown);
    const headers = { "USP-Poll": "1", "HX-Request": "true" };
    const ask = async (ids) => {
      const answer = await fetch(`/ui/status/inside?${ids.join("&")}`, { headers });
      if (answer.ok) await htmx.swap({ sourceElement: servers, target: servers, swap: "none", text: await answer.text() });
    };
    let asking = false;
    let again = false;
    const fill = async () => {
      again = true;
      if (asking) return;
      asking = true;
      while (again) {
        again = false;
        const ids = stale().map((body) => body.firstElementChild.id.replace("inside-", "id="));
        while (ids.length) await ask(ids.splice(0, AT_ONCE)).catch(() => {}); // it is asked for again with what comes next
      }
      asking = false;
    };
    const empty = (inside) => {
      inside.replaceChildren();
      delete inside.dataset.shown;
    };
    servers.addEventListener("toggle", ({ target }) => (target.open ? fill() : empty(target.lastElementChild.firstElementChild)), true);
    document.addEventListener("htmx:sse:after:message", fill);
    fill();
  }

  // --- lists that are searched as one types ---

  for (const field of all("input[data-filter]")) {
    const show = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      for (const each of all(`${field.dataset.filter} [data-words]`)) {
        each.hidden = !words.every((word) => each.dataset.words.includes(word));
        left += each.hidden ? 0 : 1;
      }
      const none = one(`${field.dataset.filter}-none`);
      if (none) none.hidden = left > 0 || words.length === 0;
    };
    field.addEventListener("input", show);
    document.addEventListener("htmx:after:swap", show);
    document.addEventListener("htmx:sse:after:message", show);
    if (field.value) show();
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      const field = one("input[data-filter], input[type=search]");
      if (field) {
        event.preventDefault();
        field.focus();
      }
    }
  });

  // --- a file goes as text into the field beside it; text can be copied ---

  for (const input of all("input[type=file][data-into]"))
    input.addEventListener("change", async () => {
      if (input.files[0]) one(input.dataset.into).value = await input.files[0].text();
    });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(one(button.dataset.copy).textContent);
    say("Copied.");
  });
})();
