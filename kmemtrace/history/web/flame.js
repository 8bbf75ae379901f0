// The flame graph of a range, or of how one differs from another.

const flame = {
  graph: null,
  tip: null,
  term: '',

  // Adds a call site to the tree; `before` is its value in the range that is compared with.
  add(root, path, value, before) {
    let node = root;
    for (const name of [null, ...path]) {
      if (name !== null) {
        if (!node.index.has(name)) {
          const made = { name: shown(name), whole: name, value: 0, now: 0, before: 0, children: [], index: new Map() };
          node.index.set(name, made);
          node.children.push(made);
        }
        node = node.index.get(name);
      }
      node.now += value;
      node.before += before;
      node.value += Math.max(value, before);
    }
  },

  tree({ group, value, split, range, kept }) {
    const root = { name: 'all', whole: 'all', value: 0, now: 0, before: 0, children: [], index: new Map() };
    // What is counted is compared as of the same time.
    const factor = kept && value !== 'held' && secondsOf(kept) > 0 ? secondsOf(range) / secondsOf(kept) : 1;
    for (const one of SITES) {
      if (group === ALL || one.group === group) {
        const now = valueOf(one, value, range);
        const before = kept ? valueOf(one, value, kept) * factor : 0;
        const path = group === ALL && split ? [CGROUPS[one.group].name, ...one.frames] : one.frames;
        if (now || before) this.add(root, path, now, before);
      }
    }
    return root;
  },

  told(node, root, kept) {
    const share = root.now ? `, ${((100 * node.now) / root.now).toFixed(1)}%` : '';
    const than = kept ? `; ${change(Math.round(node.now - node.before))} than ${size(Math.round(node.before))} in A` : '';
    return `${node.whole}: ${size(node.now)}${share}${than}`;
  },

  // Red is more than in the range that was kept, blue is less; the paler, the less of it changed.
  difference(node) {
    const part = node.value > 0 ? (node.now - node.before) / Math.max(node.now, node.before) : 0;
    const pale = Math.round(235 * (1 - Math.abs(part)));
    if (Math.abs(part) < 0.005) return 'rgb(215,215,215)';
    return part > 0 ? `rgb(255,${pale},${pale})` : `rgb(${pale},${pale},255)`;
  },

  draw(where, state) {
    if (this.tip) this.tip.destroy();
    this.graph = null;
    this.tip = null;
    where.replaceChildren();
    const root = this.tree(state);
    if (!root.value) {
      where.append(element('p', 'Nothing in this range.', { class: 'note' }));
      this.found(0, 0);
      return;
    }
    this.tip = flamegraph.tooltip.defaultFlamegraphTooltip().text((d) => this.told(d.data, root, state.kept));
    this.graph = flamegraph.default()
      .width(where.clientWidth)
      .cellHeight(18)
      .inverted(true)
      .transitionDuration(0)
      .minFrameSize(1)
      .sort((a, b) => b.data.value - a.data.value)
      .tooltip(this.tip)
      .setSearchMatch((d, term) => d.data.whole.toLowerCase().includes(term.toLowerCase()))
      .setSearchHandler((_, sum) => this.found(sum, root.value));
    this.graph.setColorMapper((d, original) => {
      if (d.highlight) return '#e600e6';
      return state.kept ? this.difference(d.data) : original;
    });
    d3.select(where).datum(root).call(this.graph);
    this.search(this.term);
  },

  search(term) {
    this.term = term;
    if (!this.graph) return;
    if (term) this.graph.search(term);
    else { this.graph.clear(); this.found(0, 0); }
  },

  found(sum, whole) {
    const told = document.getElementById('found');
    told.textContent = this.term && whole ? `${size(sum)} of ${size(whole)}, ${((100 * sum) / whole).toFixed(1)}%` : '';
  },
};
