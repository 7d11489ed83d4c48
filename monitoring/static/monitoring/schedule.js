// Says in words what the schedule in the form means, and when it runs next, while it is typed. Without it the page says so as of
// when it was saved.

document.addEventListener("DOMContentLoaded", () => {
  const output = document.getElementById("schedule-explained");
  const fields = ["schedule", "time_zone"].map((name) => document.getElementById(`id_${name}`));
  if (!output || fields.includes(null)) return;
  let timer;
  let latest = 0;

  async function explain() {
    const own = (latest += 1);
    const query = new URLSearchParams(fields.map((field) => [field.name, field.value]));
    try {
      const response = await fetch(`${output.dataset.url}?${query}`, { cache: "no-store" });
      const { text } = await response.json();
      if (own === latest) output.textContent = text; // an answer to what was typed before may come late
    } catch {
      if (own === latest) output.textContent = "The monitor does not answer: what this schedule means is said once it is saved.";
    }
  }

  for (const field of fields) {
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(explain, 250);
    });
  }
});
