// Held or charged over time, stacked; dragging over it chooses a range.

const POWERS = Array.from({ length: 50 }, (_, n) => 2 ** n);

const chart = {
  plot: null,
  bins: [], // of each column of the plot, the point of time, or -1 between two runs

  // Columns of the plot: a gap where a run ended and another began.
  columns(series, measure) {
    const x = [];
    const values = series.map(() => []);
    this.bins = [];
    for (let i = 0; i < POINTS; i += 1) {
      if (i && DATA.runs[i] !== DATA.runs[i - 1]) {
        x.push(DATA.times[i - 1] + 1e-4);
        values.forEach((one) => one.push(null));
        this.bins.push(-1);
      }
      x.push(DATA.times[i]);
      series.forEach((one, s) => {
        const rate = DATA.seconds[i] > 0 ? one.values[i] / DATA.seconds[i] : null;
        values[s].push(measure === 'held' ? one.values[i] : rate);
      });
      this.bins.push(i);
    }
    return [x, values];
  },

  // Names of ticks: the time, and the day where that is another.
  hours(ticks, step) {
    let day = '';
    return ticks.map((seconds) => {
      const [date, time] = when(seconds).split(' ');
      const same = date === day;
      day = date;
      return `${step < 60 ? time : time.slice(0, 5)}${same ? '' : `\n${date}`}`;
    });
  },

  draw(where, { by, measure, group, range }, chosen) {
    if (this.plot) this.plot.destroy();
    this.plot = null;
    where.replaceChildren();
    const series = seriesOf(by, measure, group);
    if (!series.length) {
      const why = by === 'cache' && measure !== 'held'
        ? 'What a slab cache was charged no census tells, only what it holds.'
        : 'There is nothing to draw: it was always zero, or it was not recorded.';
      where.append(element('p', why, { class: 'note' }));
      return;
    }
    const [x, values] = this.columns(series, measure);
    // Each is drawn on top of those below it, the highest first, so that no area is hidden.
    const stacked = values.map((_, s) => x.map((__, i) => (
      values[s][i] === null ? null : values.slice(s).reduce((sum, one) => sum + Math.max(0, one[i]), 0))));
    const unit = measure === 'held' ? '' : '/s';
    const axis = { stroke: color('--text'), grid: { stroke: color('--line'), width: 1 }, ticks: { show: false } };
    this.plot = new uPlot({
      width: where.clientWidth,
      height: 300,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
      scales: { y: { range: (_, __, high) => [0, high > 0 ? high * 1.05 : 1] } },
      cursor: { drag: { x: true, y: false, setScale: false } },
      axes: [{ ...axis, space: 90, values: (_, ticks, __, ___, step) => this.hours(ticks, step) }, {
        ...axis, size: 64, incrs: POWERS, values: (_, ticks) => ticks.map((n) => size(n) + unit),
      }],
      series: [{ label: 'UTC', value: (_, n) => (n === null ? '-' : when(n)) }, ...series.map((one, s) => ({
        label: shown(one.name),
        stroke: color(one.rest ? '--rest' : `--series-${s}`),
        fill: color(one.rest ? '--rest' : `--series-${s}`),
        width: 1,
        points: { show: x.length < 3 },
        value: (_, __, ___, i) => (i === null || values[s][i] === null ? '-' : size(values[s][i]) + unit),
      }))],
      hooks: { setSelect: [(plot) => this.selected(plot, chosen)] },
    }, [x, ...stacked], where);
    this.plot.over.addEventListener('dblclick', () => chosen([0, POINTS - 1]));
    this.show(range);
  },

  selected(plot, chosen) {
    if (plot.select.width < 3) return;
    const at = (left) => {
      const place = plot.valToIdx(plot.posToVal(left, 'x'));
      return this.bins[place] < 0 ? this.bins[place - 1] : this.bins[place];
    };
    const range = [at(plot.select.left), at(plot.select.left + plot.select.width)];
    if (range[0] === range[1] && range[1] > 0) range[0] -= 1;
    chosen(range);
  },

  // Shades a range, as if it had been dragged over.
  show([begin, end]) {
    if (!this.plot) return;
    const whole = begin === 0 && end === POINTS - 1;
    const left = this.plot.valToPos(DATA.times[begin], 'x');
    const width = this.plot.valToPos(DATA.times[end], 'x') - left;
    const height = this.plot.over.clientHeight;
    this.plot.setSelect(whole ? { left: 0, top: 0, width: 0, height: 0 } : { left, top: 0, width, height }, false);
  },
};
