// What is drawn, as arrays over the points of time. Sizes are bytes.

const DATA = JSON.parse(document.getElementById('data').textContent);
const POINTS = DATA.times.length;
const MACHINE = -1; // in place of a group of cgroups
const ALL = -2;
const MOST_SERIES = 11;

// Of what stands, the page has by how much it is more than the point before.
function added(changes) {
  const found = new Float64Array(changes.length);
  let sum = 0;
  changes.forEach((change, i) => { sum += change; found[i] = sum; });
  return found;
}

// The end of a name, which tells more than its begin.
const short = (name) => (name.length > 44 ? `…${name.slice(-43)}` : name);

const CGROUPS = DATA.cgroups.map((one) => ({
  name: one.name,
  short: short(one.label || one.name),
  held: added(one.held).map((n) => n * DATA.page_size),
  charged: Float64Array.from(one.charged, (n) => n * DATA.page_size),
  uncharged: Float64Array.from(one.uncharged, (n) => n * DATA.page_size),
}));
const SHORT = new Map(CGROUPS.map((one) => [one.name, one.short]));
const shown = (name) => SHORT.get(name) || short(name);
const SITES = DATA.sites.rows.map((one) => ({
  group: one.group,
  kind: DATA.texts[one.kind],
  symbol: DATA.texts[one.symbol],
  frames: one.frames.map((n) => DATA.texts[n]),
  held: added(one.held).map((n) => n * DATA.page_size),
  charged: Float64Array.from(one.charged, (n) => n * DATA.page_size),
}));
const CACHES = DATA.caches.rows.map((one) => ({
  group: one.group,
  cache: DATA.texts[one.cache],
  held: added(one.held),
}));

const SOURCES = {
  // Those that are not shown by themselves have no name, if there are others.
  cgroup: (group) => (group === ALL ? CGROUPS.map((one, i) => [i ? one.name : null, one])
    : [[CGROUPS[group].name, CGROUPS[group]]]),
  kind: (group) => SITES.filter((one) => group === ALL || one.group === group).map((one) => [one.kind, one]),
  site: (group) => SITES.filter((one) => group === ALL || one.group === group)
    .map((one) => [`${one.symbol} (${one.kind})`, one]),
  cache: (group) => CACHES.filter((one) => one.group === (group === ALL ? MACHINE : group))
    .map((one) => [one.cache, one]),
};

// The largest by name, most first, and the rest as one: [{name, values}].
function seriesOf(by, measure, group) {
  const sums = new Map();
  for (const [name, row] of SOURCES[by](group)) {
    if (row[measure] === undefined) continue;
    if (!sums.has(name)) sums.set(name, new Float64Array(POINTS));
    const sum = sums.get(name);
    row[measure].forEach((n, i) => { sum[i] += n; });
  }
  const weight = (values) => (measure === 'held' ? values.reduce((a, b) => Math.max(a, b), 0)
    : values.reduce((a, b) => a + b, 0));
  const found = [...sums].map(([name, values]) => ({ name, values, weight: weight(values) }))
    .filter((one) => one.weight > 0)
    .sort((a, b) => (a.name === null) - (b.name === null) || b.weight - a.weight);
  const rest = found.splice(MOST_SERIES);
  if (found.at(-1)?.name === null) rest.push(found.pop());
  if (rest.length) {
    const values = new Float64Array(POINTS);
    rest.forEach((one) => one.values.forEach((n, i) => { values[i] += n; }));
    found.push({ name: '(other)', values, rest: true });
  }
  return found;
}

// A value of a range: what stands, as it was at its end; what is counted, within it.
function valueOf(row, measure, [begin, end]) {
  if (measure === 'held') return Math.max(0, row.held[end]);
  let sum = 0;
  for (let i = begin + 1; i <= end; i += 1) sum += row[measure][i];
  return begin === 0 ? sum + row[measure][0] : sum;
}

// How long was watched within a range.
function secondsOf([begin, end]) {
  let sum = begin === 0 ? DATA.seconds[0] : 0;
  for (let i = begin + 1; i <= end; i += 1) sum += DATA.seconds[i];
  return sum;
}

function scaled(number, base, units) {
  let value = Math.abs(number);
  let unit = 0;
  while (value >= base - 0.5 && unit < units.length - 1) { value /= base; unit += 1; }
  const digits = value < 9.95 && !Number.isInteger(value) ? value.toFixed(1) : value.toFixed(0);
  return `${number < 0 ? '-' : ''}${digits}${units[unit]}`;
}

const size = (bytes) => scaled(bytes, 1024, ['', 'K', 'M', 'G', 'T', 'P']);
const change = (bytes) => (bytes > 0 ? `+${size(bytes)}` : size(bytes));
const count = (number) => scaled(number, 1000, ['', 'k', 'M', 'G', 'T']);
const when = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ');

function span(seconds) {
  for (const [least, factor, unit] of [[1e-6, 1e9, 'ns'], [1e-3, 1e6, 'µs'], [1, 1e3, 'ms'], [120, 1, 's'],
    [7200, 1 / 60, 'min'], [Infinity, 1 / 3600, 'h']]) {
    if (seconds < least) {
      const value = seconds * factor;
      return `${value < 9.95 ? Number(value.toFixed(1)) : value.toFixed(0)} ${unit}`;
    }
  }
  return '';
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  return made;
}
