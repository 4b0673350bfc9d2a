// Pictures of a report in a real browser, wide and narrow, light and dark, and as printed:
// `npm install playwright-core`, then `CHROMIUM=… node screenshots.mjs report.html FOLDER`.
import { chromium } from 'playwright-core';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [page, folder] = process.argv.slice(2);
const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: flags });
for (const width of [1280, 390]) {
  for (const colorScheme of ['light', 'dark']) {
    const tab = await browser.newPage({ viewport: { width, height: 844 }, colorScheme });
    await tab.goto(pathToFileURL(resolve(page)).href);
    await tab.screenshot({ path: `${folder}/${width}-${colorScheme}.png`, fullPage: true });
    const [used, given] = await tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    if (used > given) { console.error(`${used} px of content in a window of ${given} px`); process.exitCode = 1; }
    if (width > 1000 && colorScheme === 'light') await tab.pdf({ path: `${folder}/print.pdf`, format: 'A4' });
    await tab.close();
  }
}
await browser.close();
