//! `firn logs JOB`: what the ranks wrote.
//!
//! With `-f` a broken stream is opened again from the start; the numbers of the lines (without gaps for each process)
//! say which were printed already.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use firn_proto::v1alpha1::{LogLine, StreamLogsRequest};
use tokio::time::{Instant, sleep};
use tonic::{Request, Status};

use super::{
    connection::{Connection, resource_name},
    console::Console,
    error::{CommandError, is_transport},
    outcome::Outcome,
    settings::ConnectionArgs,
    view::{Format, document},
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(300);

/// Prints what the ranks of a job wrote
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Id of the job
    job: String,
    /// Keep printing new lines until the job has ended
    #[arg(short, long)]
    follow: bool,
    /// Only this rank
    #[arg(long, value_name = "RANK")]
    rank: Option<u32>,
    /// Put the time before each line
    #[arg(long)]
    timestamps: bool,
    /// How to print; json and yaml print an object for each line
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: LogsArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    let mut printed = Printed::default();
    let mut reached = false;
    let mut pause = FIRST_PAUSE;
    let mut lost_since: Option<Instant> = None;
    loop {
        match print(&connection, &args, &mut printed, &mut reached, console).await {
            Ok(()) => return Ok(Outcome::Success),
            Err(Interrupted::Command(error)) => return Err(error),
            Err(Interrupted::Stream { status, progressed }) => {
                if progressed {
                    (lost_since, pause) = (None, FIRST_PAUSE);
                }
                let since = *lost_since.get_or_insert_with(Instant::now);
                if !args.follow || !reached || !is_transport(&status) || since.elapsed() >= PATIENCE {
                    return Err(connection.refusal(&status));
                }
                if pause == FIRST_PAUSE {
                    console.say(&format!("lost the coordinator ({}), trying again", status.message()));
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

enum Interrupted {
    Command(CommandError),
    Stream { status: Status, progressed: bool },
}

async fn print(
    connection: &Connection,
    args: &LogsArgs,
    printed: &mut Printed,
    reached: &mut bool,
    console: &mut Console,
) -> Result<(), Interrupted> {
    let request = StreamLogsRequest {
        name: resource_name(&args.job),
        follow: args.follow,
        rank: args.rank,
    };
    let mut progressed = false;
    let broken = |progressed: bool| move |status| Interrupted::Stream { status, progressed };
    let mut jobs = connection.jobs();
    let opened = connection.opened(jobs.stream_logs(Request::new(request))).await;
    let mut stream = opened.map_err(broken(progressed))?;
    *reached = true;
    loop {
        // Only lines that are still to be written are waited for without end.
        let next = match args.follow {
            true => stream.message().await,
            false => connection.next_of(&mut stream).await,
        };
        let Some(line) = next.map_err(broken(progressed))? else {
            return Ok(());
        };
        progressed = true;
        if printed.is_new(&line) {
            let text = render(&line, args).map_err(Interrupted::Command)?;
            console.data(&text).map_err(Interrupted::Command)?;
        }
    }
}

fn render(line: &LogLine, args: &LogsArgs) -> Result<String, CommandError> {
    if !args.output.is_human() {
        return document::render_next(&document::log_line(line), args.output);
    }
    let mut text = String::new();
    if let Some(time) = line
        .time
        .as_ref()
        .filter(|_| args.timestamps || args.output == Format::Wide)
    {
        text.push_str(&format!("{time} "));
    }
    if args.rank.is_none() {
        text.push_str(&format!("[rank {}] ", line.rank));
    }
    text.push_str(&line.text);
    text.push('\n');
    Ok(text)
}

/// The next line number of each process: of each rank in each generation.
#[derive(Debug, Default)]
struct Printed(BTreeMap<(u64, u32), u64>);

impl Printed {
    fn is_new(&mut self, line: &LogLine) -> bool {
        let next = self.0.entry((line.generation, line.rank)).or_insert(0);
        if line.sequence < *next {
            return false;
        }
        *next = line.sequence + 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(generation: u64, rank: u32, sequence: u64) -> LogLine {
        LogLine {
            generation,
            rank,
            sequence,
            ..Default::default()
        }
    }

    #[test]
    fn a_line_is_printed_once_however_often_it_arrives() {
        let mut printed = Printed::default();
        assert!(printed.is_new(&line(1, 0, 0)));
        assert!(printed.is_new(&line(1, 1, 0)), "another rank counts for itself");
        assert!(!printed.is_new(&line(1, 0, 0)));
        assert!(printed.is_new(&line(1, 0, 1)));
        assert!(printed.is_new(&line(2, 0, 0)), "another process starts at 0");
    }
}
