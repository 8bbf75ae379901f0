// How long charges took, or pages were held, over time: a column for each point, a row for each bucket.

const heat = {
  cells(measured, group) {
    const found = new Map();
    for (const one of DATA.latencies) {
      if (one.measured === measured && (group === ALL || one.group === MACHINE || one.group === group)) {
        for (let i = 0; i < one.cells.length; i += 3) {
          const key = one.cells[i] * 64 + one.cells[i + 1];
          found.set(key, (found.get(key) || 0) + one.cells[i + 2]);
        }
      }
    }
    return [...found].map(([key, n]) => ({ bin: Math.floor(key / 64), bucket: key % 64, count: n }));
  },

  bound: (bucket) => (bucket >= 35 ? 'longer' : `< ${span((DATA.first_bucket_ns * 2 ** bucket) / 1e9)}`),

  draw(where, told, { measured, group, range: [begin, end] }) {
    where.replaceChildren();
    told.textContent = '';
    const cells = this.cells(measured, group).filter((one) => one.bin >= begin && one.bin <= end);
    if (!cells.length) {
      where.append(element('p', 'No duration was measured in this range.', { class: 'note' }));
      return;
    }
    const buckets = cells.map((one) => one.bucket);
    const [low, high] = [Math.max(0, Math.min(...buckets) - 1), Math.max(...buckets)];
    const row = 14;
    const left = 74;
    const canvas = element('canvas', undefined, { role: 'img', 'aria-label': `${measured} by time and duration` });
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [where.clientWidth, (high - low + 1) * row + 20];
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    where.append(canvas);
    const context = canvas.getContext('2d');
    context.scale(scale, scale);
    context.font = '11px system-ui, sans-serif';
    context.fillStyle = color('--text');
    for (let bucket = low; bucket <= high; bucket += 1) {
      context.fillText(this.bound(bucket), 2, (high - bucket) * row + 11);
    }
    const column = (width - left) / (end - begin + 1);
    const most = Math.log1p(Math.max(...cells.map((one) => one.count)));
    for (const one of cells) {
      context.globalAlpha = 0.12 + 0.88 * (Math.log1p(one.count) / most);
      context.fillStyle = color('--heat');
      context.fillRect(left + (one.bin - begin) * column, (high - one.bucket) * row, Math.max(1, column - 0.5), row - 1);
    }
    context.globalAlpha = 1;
    context.fillStyle = color('--text');
    context.fillText(when(DATA.times[begin]), left, height - 5);
    context.textAlign = 'right';
    context.fillText(when(DATA.times[end]), width - 2, height - 5);
    const at = new Map(cells.map((one) => [one.bin * 64 + one.bucket, one.count]));
    canvas.addEventListener('mousemove', (event) => {
      const bin = begin + Math.floor((event.offsetX - left) / column);
      const bucket = high - Math.floor(event.offsetY / row);
      const n = at.get(bin * 64 + bucket) || 0;
      told.textContent = bin < begin || bin > end || bucket < low ? ''
        : `${when(DATA.times[bin])}, ${this.bound(bucket)}: ${count(n)}`;
    });
    canvas.addEventListener('mouseleave', () => { told.textContent = ''; });
  },
};
