// Rates a page of `v5gate human export` in a real browser, by keyboard: half of it, a reload, the rest; keeps
// the downloaded table and takes pictures, wide and narrow, light and dark.
// `npm install playwright-core`, then `CHROMIUM=… node human.mjs page.html RATER FOLDER`.
import { chromium } from 'playwright-core';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [page, rater, folder] = process.argv.slice(2);
const address = pathToFileURL(resolve(page)).href;
const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: flags });
const demand = (good, what) => { if (!good) { console.error(`not so: ${what}`); process.exitCode = 1; } };
const watched = async (tab) => {
  tab.on('pageerror', (error) => demand(false, error.message));
  tab.on('console', (message) => { if (message.type() === 'error') demand(false, message.text()); });
  tab.on('request', (request) => demand(/^(file|blob):/.test(request.url()), `no request to ${request.url()}`));
  tab.on('dialog', (dialog) => { demand(false, 'no dialog opens'); dialog.dismiss(); });
  await tab.goto(address);
  return tab;
};

// One rater, who goes by the length of the replies and is not always sure.
const context = await browser.newContext({ viewport: { width: 1280, height: 844 }, acceptDownloads: true });
const tab = await watched(await context.newPage());
const total = await tab.locator('.pair').count();
const key = async () => {
  const [left, right] = await tab.locator('.pair:not([hidden]) .reply p').allTextContents();
  const d = left.length - right.length + (rater.length % 3) * 4;
  return Math.abs(d) < 4 ? 'ArrowDown' : d > 0 ? 'ArrowLeft' : 'ArrowRight';
};
const place = () => tab.locator('#place').textContent();
await tab.fill('#rater', rater);
await tab.keyboard.press('Enter');
const pressed = [];
for (let i = 0; i < total; i += 1) {
  if (i === Math.floor(total / 2)) {
    const before = await place();
    // A browser writes what it keeps a moment later; nobody rates this fast.
    await tab.waitForTimeout(1000);
    await tab.reload();
    demand(await place() === before, `after a reload it goes on at ${before}, not ${await place()}`);
    // Back shows what was chosen; the same again goes forth.
    await tab.keyboard.press('ArrowUp');
    const chosen = { ArrowLeft: 'left', ArrowRight: 'right', ArrowDown: 'tie' }[pressed[i - 1]];
    demand(await tab.locator('#choices [aria-pressed="true"]').getAttribute('data-choice') === chosen, 'the choice is kept');
    await tab.keyboard.press(pressed[i - 1]);
  }
  pressed.push(await key());
  await tab.keyboard.press(pressed[i]);
}
demand((await place()).startsWith(`${total} of ${total}`), 'all are rated');
const [file] = await Promise.all([tab.waitForEvent('download'), tab.click('#download')]);
await file.saveAs(`${folder}/${rater}.csv`);
await tab.screenshot({ path: `${folder}/end.png` });
console.log(`${total} pairs: ${['ArrowLeft', 'ArrowRight', 'ArrowDown'].map((k) => `${k} ${pressed.filter((p) => p === k).length}`).join(', ')}`);

for (const width of [1280, 390]) {
  for (const colorScheme of ['light', 'dark']) {
    const look = await browser.newContext({ viewport: { width, height: 844 }, colorScheme, hasTouch: width < 700, isMobile: width < 700 });
    const tab = await watched(await look.newPage());
    const picture = async (name) => {
      await tab.screenshot({ path: `${folder}/${width}-${colorScheme}-${name}.png` });
      const [used, given] = await tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      demand(used <= given, `${name}: ${used} px of content fit ${given} px`);
    };
    await picture('start');
    await tab.fill('#rater', rater);
    await tab.keyboard.press('Enter');
    await picture('pair');
    for (const choice of ['left', 'tie']) await tab.click(`#choices [data-choice="${choice}"]`);
    await tab.click('#back');
    await picture('chosen');
    await look.close();
  }
}
await browser.close();
