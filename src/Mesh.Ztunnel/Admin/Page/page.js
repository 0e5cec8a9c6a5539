'use strict';

// Keeps the tables of the page fresh. Values are set as text, never as HTML: peers choose some of them.
(() => {
  const MAX_SHOWN = 500;
  const INTERVAL_MS = 2000;
  const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const NUMERIC = new Set(['count', 'octets', 'rate', 'ms', 'time']);
  const compareText = new Intl.Collator('en', { numeric: true }).compare;

  const filter = document.getElementById('filter');
  const refresh = document.getElementById('refresh');
  const state = document.getElementById('state');

  function octets(value) {
    let unit = 0;
    for (; value >= 1024 && unit < UNITS.length - 1; unit++) {
      value /= 1024;
    }
    return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
  }

  function duration(ms) {
    const s = Math.floor(ms / 1000);
    return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  }

  function text(kind, value) {
    if (typeof value !== 'number') {
      return value;
    }
    switch (kind) {
      case 'octets': return octets(value);
      case 'rate': return `${octets(value)}/s`;
      case 'ms': return duration(value);
      case 'time': return `${new Date(value).toISOString().slice(0, 19).replace('T', ' ')}Z`;
      default: return String(value);
    }
  }

  class Table {
    constructor(section) {
      this.id = section.id;
      this.total = section.querySelector('.total');
      this.more = section.querySelector('.more');
      this.body = section.querySelector('tbody');
      this.heads = [...section.querySelectorAll('th')];
      this.kinds = this.heads.map(head => head.dataset.kind);
      this.rateAt = this.kinds.indexOf('rate');
      this.octetsAt = this.kinds.flatMap((kind, i) => (kind === 'octets' ? [i] : []));
      this.rows = null;
      this.count = 0;
      this.sortBy = -1;
      this.descending = false;
      this.shown = new Map([...this.body.rows].map(tr => [tr.dataset.key, tr]));
      this.before = new Map();
      this.heads.forEach((head, i) => {
        head.querySelector('button').addEventListener('click', () => this.sort(i));
      });
    }

    sort(column) {
      // Numbers are looked at from the largest on, texts from A.
      this.descending = this.sortBy === column ? !this.descending : NUMERIC.has(this.kinds[column]);
      this.sortBy = column;
      this.heads.forEach((head, i) => {
        if (i === column) {
          head.setAttribute('aria-sort', this.descending ? 'descending' : 'ascending');
        } else {
          head.removeAttribute('aria-sort');
        }
      });
      this.render();
    }

    take(data, time) {
      this.count = data.total;
      this.rows = data.rows;
      if (this.rateAt >= 0) {
        const now = new Map();
        for (const row of this.rows) {
          const sum = this.octetsAt.reduce((all, i) => all + row[i + 1], 0);
          const old = this.before.get(row[0]);
          row[this.rateAt + 1] = old && time > old.time ? Math.max(0, (sum - old.sum) * 1000 / (time - old.time)) : '';
          now.set(row[0], { sum, time });
        }
        this.before = now;
      }
      this.render();
    }

    select() {
      const wanted = filter.value.trim().toLowerCase().split(/\s+/).filter(word => word);
      let rows = this.rows;
      if (wanted.length > 0) {
        rows = rows.filter(row => {
          const all = row.slice(1).join('\n').toLowerCase();
          return wanted.every(word => all.includes(word));
        });
      }
      if (this.sortBy >= 0) {
        const at = this.sortBy + 1;
        const sign = this.descending ? -1 : 1;
        rows = [...rows].sort((a, b) => {
          const [x, y] = [a[at], b[at]];
          if (x === '' || y === '') {
            return (x === '') - (y === '');
          }
          return sign * (typeof x === 'number' && typeof y === 'number' ? x - y : compareText(x, y));
        });
      }
      return { rows, isFiltered: wanted.length > 0 };
    }

    // Reuses the rows that stay, and writes only cells that have changed. Reads no layout.
    render() {
      if (this.rows === null) {
        return;
      }
      const { rows, isFiltered } = this.select();
      const page = rows.slice(0, MAX_SHOWN);
      const keys = new Set(page.map(row => row[0]));
      for (const [key, tr] of this.shown) {
        if (!keys.has(key)) {
          tr.remove();
          this.shown.delete(key);
        }
      }
      let next = this.body.firstElementChild;
      for (const row of page) {
        let tr = this.shown.get(row[0]);
        if (!tr) {
          tr = this.create();
          this.shown.set(row[0], tr);
        }
        this.fill(tr, row);
        if (tr === next) {
          next = next.nextElementSibling;
        } else {
          this.body.insertBefore(tr, next);
        }
      }
      const hidden = rows.length - page.length;
      const untold = isFiltered ? 0 : this.count - this.rows.length;
      const notes = [];
      if (isFiltered) {
        notes.push(`${rows.length} match`);
      }
      if (hidden + untold > 0) {
        notes.push(`${page.length} shown, ${hidden + untold} more`);
      }
      this.set(this.total, String(this.count));
      this.set(this.more, notes.join('; '));
    }

    create() {
      const tr = document.createElement('tr');
      for (const head of this.heads) {
        const td = document.createElement('td');
        td.className = head.className;
        tr.append(td);
      }
      return tr;
    }

    fill(tr, row) {
      this.kinds.forEach((kind, i) => {
        const td = tr.cells[i];
        const value = text(kind, row[i + 1]);
        if (this.set(td, value) && kind === 'verdict') {
          td.dataset.verdict = value;
        }
      });
    }

    set(element, value) {
      if (element.textContent === value) {
        return false;
      }
      element.textContent = value;
      return true;
    }
  }

  const tables = [...document.querySelectorAll('main section')].map(section => new Table(section));
  let failedSince = null;

  async function update() {
    try {
      const response = await fetch('/api/status', { cache: 'no-store' });
      if (!response.ok) {
        throw new Error(`status ${response.status}`);
      }
      const status = await response.json();
      for (const table of tables) {
        table.take(status.tables[table.id], status.time);
      }
      failedSince = null;
      state.textContent = '';
    } catch {
      failedSince ??= new Date();
      state.textContent = `No answer since ${failedSince.toISOString().slice(11, 19)}Z; what is shown is from before.`;
    }
  }

  async function run() {
    if (refresh.checked && !document.hidden) {
      await update();
    }
    setTimeout(run, INTERVAL_MS);
  }

  filter.addEventListener('input', () => tables.forEach(table => table.render()));
  document.getElementById('controls').addEventListener('submit', event => event.preventDefault());
  document.getElementById('controls').hidden = false;
  update().then(() => setTimeout(run, INTERVAL_MS));
})();
