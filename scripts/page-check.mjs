// Checks a report in a real browser and takes its picture. For the page of the protocol "smoke":
// - in a window of 1,280 px verdict, seven lines and forest plot end within 1,600 px, the folded page within 6,000 px;
// - nothing is wider than a window of 1,280, 390 or 360 px, folded or unfolded, in light and in dark;
// - axe finds no violation, there is no error and no request, and every link within the page leads somewhere;
// - the keyboard alone reaches and works every fold and filter, and the search.
// `npm install playwright-core axe-core` in some folder, then in that folder
// `CHROMIUM=… node …/scripts/page-check.mjs report.html [PICTURE.png [PICTURES]]`: the first screen as README shows
// it, and a folder for the whole page in every width and scheme.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const { chromium } = createRequire(resolve('packages.js'))('playwright-core');
const axe = readFileSync(createRequire(resolve('packages.js')).resolve('axe-core/axe.min.js'), 'utf8');
const [page, picture, pictures] = process.argv.slice(2);
const address = pathToFileURL(resolve(page)).href;
const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: flags });
const demand = (good, what) => { if (!good) { console.error(`not so: ${what}`); process.exitCode = 1; } };
const open = async (width, colorScheme) => {
  const tab = await browser.newPage({ viewport: { width, height: 960 }, colorScheme });
  tab.on('pageerror', (error) => demand(false, error.message));
  tab.on('console', (message) => { if (message.type() === 'error') demand(false, message.text()); });
  tab.on('request', (request) => demand(request.url() === address, `no request to ${request.url()}`));
  await tab.goto(address);
  return tab;
};
const fold = (tab, unfolded) =>
  tab.evaluate((to) => document.querySelectorAll('details').forEach((d) => { d.open = to; }), unfolded);

for (const width of [1280, 390, 360]) {
  for (const scheme of ['light', 'dark']) {
    const tab = await open(width, scheme);
    const what = `${width} px, ${scheme}`;
    const bottom = await tab.evaluate(() => document.getElementById('comparisons').getBoundingClientRect().bottom);
    demand(width < 1280 || bottom <= 1600, `${what}: the forest plot ends at ${bottom} px`);
    if (pictures) await tab.screenshot({ path: `${pictures}/${width}-${scheme}.png`, fullPage: true });
    if (picture && width === 1280 && scheme === 'light') await tab.screenshot({ path: picture });
    for (const unfolded of [false, true]) {
      await fold(tab, unfolded);
      const state = `${what}, ${unfolded ? 'unfolded' : 'folded'}`;
      const [wide, high] = await tab.evaluate(() => {
        const { scrollWidth, scrollHeight } = document.documentElement;
        return [scrollWidth, scrollHeight];
      });
      demand(wide <= width, `${state}: ${wide} px wide`);
      demand(unfolded || width < 1280 || high <= 6000, `${state}: ${high} px high`);
      await tab.evaluate(axe);
      const { violations } = await tab.evaluate(() => globalThis.axe.run());
      violations.forEach((v) => demand(false, `${state}: ${v.id}, ${v.nodes.length} times: ${v.nodes[0].html}`));
      console.log(`${state}: forest plot ends at ${Math.round(bottom)} px, page is ${high} px high`);
    }
    await tab.close();
  }
}

const tab = await open(1280, 'light');
const lost = await tab.evaluate(() => [...document.querySelectorAll('a[href^="#"]')]
  .map((a) => a.getAttribute('href').slice(1)).filter((id) => !document.getElementById(id)));
demand(lost.length === 0, `no link leads nowhere: ${lost}`);

// Everything unfolded, so that every fold and filter is there to be reached; then Tab from the top to the end.
await fold(tab, true);
await tab.evaluate(() => {
  document.querySelectorAll('summary, .filters input').forEach((e, i) => { e.dataset.stop = i; });
});
const reached = new Set();
for (let steps = 0; steps < 5000; steps += 1) {
  await tab.keyboard.press('Tab');
  const at = await tab.evaluate(() => {
    const { activeElement: e } = document;
    if (e === document.body) return null;
    const style = getComputedStyle(e);
    return { stop: e.dataset.stop, type: e.type, kind: e.tagName, seen: style.outlineStyle !== 'none' };
  });
  if (at === null) break;
  demand(at.seen, `the focus shows on ${at.kind}`);
  if (at.stop === undefined) continue;
  reached.add(at.stop);
  if (at.kind === 'SUMMARY') {
    const now = () => tab.evaluate(() => document.activeElement.parentElement.open);
    for (const key of ['Enter', 'Space']) {
      const before = await now();
      await tab.keyboard.press(key);
      demand(await now() !== before, `${key} works fold ${at.stop}`);
    }
  } else if (at.type === 'radio') {
    const shown = () => tab.evaluate(() => document.querySelectorAll('tr.finding:not([hidden])').length
      - [...document.querySelectorAll('tr.finding')].filter((r) => getComputedStyle(r).display === 'none').length);
    const all = await shown();
    for (let choice = 0; choice < 3; choice += 1) {
      await tab.keyboard.press('ArrowRight');
      reached.add(await tab.evaluate(() => document.activeElement.dataset.stop));
      if (choice < 2) demand(await shown() < all, 'a filter leaves out rows');
    }
    demand(await shown() === all, 'the first filter shows every row');
  } else if (at.type === 'search') {
    await tab.keyboard.type('perplexity');
    demand(/^[1-9]\d* findings$/.test(await tab.textContent('#found')), 'the search finds rows');
    for (let letter = 0; letter < 10; letter += 1) await tab.keyboard.press('Backspace');
    await fold(tab, true);
  }
}
const all = await tab.evaluate(() => document.querySelectorAll('[data-stop]').length);
demand(reached.size === all, `the keyboard reaches ${reached.size} of ${all} folds and filters`);
console.log(`the keyboard reaches ${reached.size} of ${all} folds and filters`);
await browser.close();
