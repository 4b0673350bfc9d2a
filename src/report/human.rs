//! The page on which people compare two replies: one file, no network. Text is escaped by the template
//! library; the script touches no text of a dialogue, and only what has the page's number runs.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::shared::escape_controls;
use crate::evidence::Pair;

const STYLE: &str = include_str!("human.css");
const SCRIPT: &str = include_str!("human.js");

/// The page of these pairs; `page` is their digest, under which a browser keeps the ratings.
pub fn rating_page(page: &str, pairs: &[Pair]) -> String {
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{page}'; style-src 'nonce-{page}'; base-uri 'none'; form-action 'none'"
    );
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { "Which reply is better?" }
                style nonce=(page) { (PreEscaped(STYLE)) }
            }
            body data-page=(page) {
                header {
                    h1 { "Which reply is better?" }
                    p.where {
                        span #place {} progress #progress max=(pairs.len()) value="0" aria-label="Pairs rated" {}
                    }
                }
                noscript { p.notice { "This page needs its script: nothing can be rated without it." } }
                p #unkept .notice hidden { "This browser keeps nothing: download before you close the page." }
                main {
                    (start(pairs.len()))
                    @for (i, pair) in pairs.iter().enumerate() { (section(i + 1, pair)) }
                    (end())
                }
                nav #choices hidden aria-label="Your choice" {
                    button type="button" data-choice="left" { "First " kbd { "←" } }
                    button type="button" data-choice="tie" { "Equal " kbd { "↓" } }
                    button type="button" data-choice="right" { "Second " kbd { "→" } }
                    button #back .quiet type="button" { "Back " kbd { "↑" } }
                    button #skip .quiet type="button" { "Skip " kbd { "S" } }
                    button #stop .quiet type="button" { "Stop" }
                }
                script nonce=(page) { (PreEscaped(SCRIPT)) }
            }
        }
    };
    escape_controls(&text.into_string())
}

fn start(pairs: usize) -> Markup {
    html! {
        section #start {
            p {
                "You will see " (pairs) " conversations. Each ends with two replies to what was said last; "
                "both may be odd. Choose the one that you would rather have got: the one that makes sense, fits what "
                "was said before, and is good English. Choose “equal” only if you cannot decide."
            }
            p { "By keyboard: " kbd { "←" } " first, " kbd { "→" } " second, " kbd { "↓" } " equal, " kbd { "↑" } " back. "
                "Your ratings stay in this browser until you download them; you may stop, close the page and come back." }
            form #who {
                label for="rater" { "Your name, or a code" }
                div.line {
                    input #rater autocomplete="off" required maxlength="60";
                    button type="submit" { "Start" }
                }
            }
        }
    }
}

fn section(number: usize, pair: &Pair) -> Markup {
    // Whoever speaks last is answered, so counting from the end tells who speaks.
    let answered = |i: usize| (pair.turns.len() - i) % 2 == 1;
    html! {
        section.pair id={ "pair-" (number) } hidden {
            @if !pair.opening.is_empty() {
                div.opening {
                    h2 { "Told to whoever replies" }
                    @for line in &pair.opening { p dir="auto" { (line) } }
                }
            }
            div.talk tabindex="0" role="group" aria-label="The conversation so far" {
                @for (i, turn) in pair.turns.iter().enumerate() {
                    p.turn.theirs[answered(i)] dir="auto" { (turn) }
                }
            }
            div.replies {
                @for (name, side, reply) in [("First reply", "left", &pair.left), ("Second reply", "right", &pair.right)] {
                    div.reply data-choice=(side) {
                        h2 { (name) }
                        @if reply.trim().is_empty() { p.nothing { "(says nothing)" } }
                        @else { p dir="auto" { (reply) } }
                    }
                }
            }
        }
    }
}

fn end() -> Markup {
    html! {
        section #end hidden {
            p #summary {}
            p { "Download your ratings and send the file to whoever asked you." }
            div.line {
                button #download type="button" { "Download ratings" }
                button #review .quiet type="button" { "Back to the pairs" }
            }
        }
    }
}
