//! `v5gate reference`: the exchange with another program.

use std::path::PathBuf;

use anyhow::{Result, bail};
use v5gate::collect::{export_reference, import_reference};
use v5gate::evidence::Value;
use v5gate::scale;

use crate::options::{Collect, with_options};
use crate::output::print;

/// What `reference` does.
#[derive(clap::Subcommand)]
pub enum ReferenceCommand {
    /// Write the initial weights, the batches and the recipe of a trial of GPT-2.
    Export {
        #[command(flatten)]
        collect: Collect,
        /// A scale of the protocol.
        #[arg(long)]
        scale: String,
        /// A seed of the protocol.
        #[arg(long)]
        seed: u64,
        /// The folder to write: initial/, batches.npy and task.json.
        folder: PathBuf,
    },
    /// Add what the log beside an exported task says to the ledger; trains the trial here where it is not trained yet.
    Import {
        #[command(flatten)]
        collect: Collect,
        /// The exported folder, with the log.jsonl that the other program left there.
        folder: PathBuf,
    },
}

/// Exports or imports, and says what it did.
pub fn run(command: &ReferenceCommand) -> Result<()> {
    match command {
        ReferenceCommand::Export { collect, scale, seed, folder } => {
            let task = with_options(collect, |protocol, options| {
                let named = scale::find(scale).filter(|s| protocol.scales.iter().any(|name| name == s.name));
                let Some(scale) = named else {
                    bail!("--scale: expected one of {}, got {scale:?}", protocol.scales.join(", "))
                };
                if !protocol.seeds.contains(seed) {
                    bail!("--seed: expected one of {:?}, got {seed}", protocol.seeds)
                }
                Ok(export_reference(protocol, options, (scale, *seed), folder)?)
            })?;
            let (steps, windows) = (task.steps, task.recipe.batch_size);
            let length = task.recipe.context_length;
            print(&format!(
                "{}: {} {} seed {}, {steps} steps of {windows} × {length} tokens in {}\n",
                folder.display(),
                task.model,
                task.scale,
                task.seed,
                task.precision
            ))
        }
        ReferenceCommand::Import { collect, folder } => {
            let found =
                with_options(collect, |protocol, options| Ok(import_reference(protocol, options, folder)?))?;
            print(&format!(
                "{} on {}\nlog                      {}\nfinal loss here / there  {}\nfarthest apart          {} at step {}\n",
                found.header.software,
                found.header.device,
                found.log,
                Value::from(found.ratio),
                Value::from(found.departure),
                found.farthest
            ))
        }
    }
}
