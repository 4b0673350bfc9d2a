'use strict';
(() => {
  const $ = (id) => document.getElementById(id);
  const page = document.body.dataset.page;
  const store = 'ratings-' + page;
  const pairs = [...document.querySelectorAll('.pair')];
  const keys = { ArrowLeft: 'left', ArrowRight: 'right', ArrowDown: 'tie' };
  let state = { rater: '', choices: {}, at: 0, started: false };
  try {
    const kept = JSON.parse(localStorage.getItem(store));
    if (kept && typeof kept.choices === 'object') state = { ...state, ...kept };
  } catch { /* Nothing kept that can be read: begin anew. */ }

  const keep = () => {
    try {
      localStorage.setItem(store, JSON.stringify(state));
    } catch {
      $('unkept').hidden = false;
    }
  };
  const rated = () => Object.keys(state.choices).length;

  // What is seen: the start, pair `at`, or after the last pair the end.
  const show = () => {
    const pair = state.started && state.at < pairs.length ? pairs[state.at] : null;
    const over = state.started && !pair;
    $('start').hidden = state.started;
    $('end').hidden = !over;
    $('choices').hidden = !pair;
    pairs.forEach((section) => { section.hidden = section !== pair; });
    $('progress').value = rated();
    $('place').textContent = pair ? `${state.at + 1} of ${pairs.length}` : `${rated()} of ${pairs.length} rated`;
    $('back').disabled = state.at === 0;
    $('summary').textContent = rated() === pairs.length
      ? `Thank you: all ${pairs.length} pairs are rated.`
      : `${rated()} of ${pairs.length} pairs are rated; you can go back to the others.`;
    if (!pair) return;
    const choice = state.choices[state.at + 1];
    document.querySelectorAll('#choices [data-choice]').forEach((button) => {
      button.setAttribute('aria-pressed', String(button.dataset.choice === choice));
    });
    pair.querySelectorAll('.reply').forEach((reply) => {
      reply.classList.toggle('chosen', reply.dataset.choice === choice);
    });
    const talk = pair.querySelector('.talk');
    talk.scrollTop = talk.scrollHeight;
    window.scrollTo(0, 0);
  };
  const go = (at) => { state.at = Math.max(0, Math.min(at, pairs.length)); keep(); show(); };
  const choose = (choice) => { state.choices[state.at + 1] = choice; go(state.at + 1); };
  const back = () => { go(state.at - 1); };

  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const table = () => ['page,rater,pair,choice']
    .concat(Object.keys(state.choices).map(Number).sort((a, b) => a - b)
      .map((pair) => [page, quoted(state.rater), pair, state.choices[pair]].join(',')))
    .join('\r\n') + '\r\n';
  const download = () => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([table()], { type: 'text/csv' }));
    link.download = `ratings-${page.slice(0, 8)}-${state.rater.replace(/[^\p{L}\p{N}]+/gu, '-')}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  $('rater').value = state.rater;
  $('who').addEventListener('submit', (event) => {
    event.preventDefault();
    const rater = $('rater').value.trim();
    if (rater) { state.rater = rater; state.started = true; $('rater').blur(); go(state.at); }
  });
  document.querySelectorAll('#choices [data-choice]').forEach((button) => {
    button.addEventListener('click', () => choose(button.dataset.choice));
  });
  $('back').addEventListener('click', back);
  $('skip').addEventListener('click', () => go(state.at + 1));
  $('stop').addEventListener('click', () => go(pairs.length));
  $('review').addEventListener('click', () => {
    const open = pairs.findIndex((_, i) => !state.choices[i + 1]);
    go(open < 0 ? pairs.length - 1 : open);
  });
  $('download').addEventListener('click', download);
  document.addEventListener('keydown', (event) => {
    if (!state.started || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const inPair = state.at < pairs.length;
    if (inPair && keys[event.key]) choose(keys[event.key]);
    else if (event.key === 'ArrowUp' || event.key === 'Backspace') back();
    else if (inPair && event.key.toLowerCase() === 's') go(state.at + 1);
    else return;
    event.preventDefault();
  });
  show();
})();
