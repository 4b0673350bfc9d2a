//! Reports: the same judgement for the terminal, as Markdown, HTML, JSON and JUnit XML, and for
//! GitHub. Byte for byte the same for the same ledger. Whatever is a time stands in one section of
//! its own, named "Time", and in the findings of the rows that judge it, with the key numbers read off them.

mod chart;
mod criteria;
mod demands;
mod diff;
mod explain;
mod github;
mod html;
mod human;
mod item_pairs;
mod json;
mod junit;
mod markdown;
mod overview;
mod plots;
mod readouts;
mod shared;
mod summary;
mod table;
mod tables;
mod terminal;
mod words;

pub use criteria::{criteria_json, criteria_markdown, criteria_page};
pub use demands::demanded;
pub use diff::Difference;
pub use explain::{explain, find_criterion, similar_ids};
pub use github::{annotations, job_summary};
pub use html::html;
pub use human::rating_page;
pub use item_pairs::{ItemPairs, item_pairs, tables_of_pairs};
pub use json::json;
pub use junit::junit;
pub use markdown::markdown;
pub use table::Table;
pub use terminal::{TerminalStyle, findings, show_rows, show_tables, terminal};
pub use words::{found, lacking, problem};
