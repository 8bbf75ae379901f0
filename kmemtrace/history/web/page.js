// What is chosen, and what follows from it.

const at = (id) => document.getElementById(id);
const state = {
  by: 'cgroup',
  measure: 'held',
  group: ALL,
  range: [0, POINTS - 1],
  kept: null, // the range that is compared with
  value: 'held',
  split: true,
  measured: null,
};

function told(range) {
  return `${when(DATA.times[range[0]])} to ${when(DATA.times[range[1]])} UTC`;
}

function drawRows() {
  const rows = CGROUPS.map((one, group) => {
    const held = valueOf(one, 'held', state.range);
    const more = held - Math.max(0, one.held[state.range[0]]);
    const [charged, uncharged] = ['charged', 'uncharged'].map((name) => valueOf(one, name, state.range));
    return { group, name: one.name, held, cells: [held, more, charged, uncharged] };
  }).filter((one) => one.cells.some(Boolean));
  rows.sort((a, b) => b.held - a.held || b.cells[2] - a.cells[2]);
  at('rows').replaceChildren(...rows.map((one) => {
    const row = element('tr');
    one.cells.forEach((n, i) => row.append(element('td', i === 1 ? change(n) : size(n))));
    const name = element('td');
    const button = element('button', one.name, { type: 'button', class: 'link' });
    button.addEventListener('click', () => choose({ group: one.group }));
    name.append(button);
    row.append(name);
    if (one.group === state.group) row.className = 'chosen';
    return row;
  }));
}

function drawRange() {
  at('range').textContent = told(state.range);
  at('from').value = state.range[0];
  at('to').value = state.range[1];
  at('compared').textContent = state.kept
    ? `A is ${told(state.kept)}. Choose another range, B: red is more in B than in A, blue is less.` : '';
  at('keep').hidden = Boolean(state.kept);
  at('forget').hidden = !state.kept;
}

function drawChart() {
  chart.draw(at('chart'), state, (range) => choose({ range }));
}

const PARTS = {
  range: [drawRange, () => chart.show(state.range), drawRows],
  chart: [drawChart],
  flame: [() => flame.draw(at('flame'), state)],
  heat: [() => heat.draw(at('heat'), at('cell'), state)],
};
const FOLLOWS = {
  by: ['chart'],
  measure: ['chart'],
  group: ['chart', 'range', 'flame', 'heat'],
  range: ['range', 'flame', 'heat'],
  kept: ['range', 'flame'],
  value: ['flame'],
  split: ['flame'],
  measured: ['heat'],
};

function draw(parts) {
  parts.forEach((part) => PARTS[part].forEach((one) => one()));
}

function choose(changes) {
  Object.assign(state, changes);
  draw([...new Set(Object.keys(changes).flatMap((name) => FOLLOWS[name]))]);
  at('group').value = state.group;
}

function listen() {
  for (const name of ['by', 'measure', 'value', 'measured']) {
    at(name).addEventListener('change', () => choose({ [name]: at(name).value }));
  }
  at('group').addEventListener('change', () => choose({ group: Number(at('group').value) }));
  at('split').addEventListener('change', () => choose({ split: at('split').checked }));
  at('whole').addEventListener('click', () => choose({ range: [0, POINTS - 1] }));
  at('keep').addEventListener('click', () => choose({ kept: state.range }));
  at('forget').addEventListener('click', () => choose({ kept: null }));
  at('search').addEventListener('input', () => flame.search(at('search').value));
  for (const name of ['from', 'to']) {
    at(name).addEventListener('input', () => {
      const ends = [Number(at('from').value), Number(at('to').value)];
      choose({ range: [Math.min(...ends), Math.max(...ends)] });
    });
  }
  at('theme').addEventListener('click', () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    draw(['chart', 'heat']);
  });
  let waiting = null;
  window.addEventListener('resize', () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => draw(['chart', 'flame', 'heat']), 150);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => draw(['chart', 'heat']));
}

function begin() {
  at('group').append(new Option('all cgroups', ALL), ...CGROUPS.map((one, i) => new Option(one.short, i)));
  const measured = [...new Set(DATA.latencies.map((one) => one.measured))];
  at('measured').append(...measured.map((name) => new Option(name, name)));
  state.measured = measured[0] || null;
  at('split').checked = true;
  for (const name of ['from', 'to']) at(name).max = POINTS - 1;
  listen();
  draw(['chart', 'range', 'flame', 'heat']);
  document.body.dataset.drawn = 'yes';
}

begin();
