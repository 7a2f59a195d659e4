//! The span to normalize again: raw frames of all of it are kept, and one version of the adapter normalized them.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail, ensure};
use marketprism_schema::RecordingKind;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::raw::{COMPONENTS, TimeSpan, raw_segments};
use crate::replay::Recordings;

/// Refuses a span that is not kept as a whole.
pub(super) fn kept_frames(folder: &Path, span: TimeSpan) -> anyhow::Result<Recordings> {
    let shown = folder.display();
    ensure!(
        span.from_ns < span.to_ns,
        "--from: is {}, allowed: a time before --to ({})",
        time_text(span.from_ns),
        time_text(span.to_ns)
    );
    let segments = raw_segments(folder, TimeSpan::ALL).with_context(|| shown.to_string())?;
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        bail!("{shown}: no raw frames are kept (set raw.enabled of the feed)");
    };
    ensure!(
        first.first_ns <= span.from_ns,
        "--from: is {}, allowed: from {} on, where the raw frames in {shown} begin",
        time_text(span.from_ns),
        time_text(first.first_ns)
    );
    let written = last.path.metadata().and_then(|file| file.modified());
    let written = written.with_context(|| last.path.display().to_string())?;
    let written_ns = written.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
    let written_ns = i64::try_from(written_ns).unwrap_or(i64::MAX);
    ensure!(
        span.to_ns <= written_ns,
        "--to: is {}, allowed: up to {}, where the raw frames in {shown} end",
        time_text(span.to_ns),
        time_text(written_ns)
    );
    Recordings::new(&[folder.to_owned()], span)
}

/// Id of the version that normalized the frames of the span. Refuses a span of several.
pub(super) fn version_of(recordings: &Recordings) -> anyhow::Result<String> {
    let span = recordings.span();
    let mut versions: Vec<(String, i64)> = Vec::new();
    recordings.each(
        |text| text.contains("\"adapter\""),
        |_, _, line| {
            if line.kind == RecordingKind::Adapter && line.at < span.to_ns {
                let id = line.data.as_deref().unwrap_or_default();
                if line.at <= span.from_ns {
                    versions.clear();
                }
                if versions.last().is_none_or(|(last, _)| last != id) {
                    versions.push((id.to_owned(), line.at));
                }
            }
            Ok(())
        },
    )?;
    match versions.as_slice() {
        [] => bail!("the raw frames do not show which version of the adapter normalized them"),
        [(id, _)] => Ok(id.clone()),
        several => {
            let times: Vec<String> =
                several.iter().map(|(id, at_ns)| format!("{id} from {}", time_text(*at_ns))).collect();
            bail!(
                "several versions of the adapter normalized the span: {}; run the command for the time of each",
                times.join(", ")
            )
        }
    }
}

/// The copy of a version's component that is kept with the frames. `id`: `name@version+` and the begin of the digest.
pub(super) fn kept_component(folder: &Path, id: &str) -> anyhow::Result<PathBuf> {
    let components = folder.join(COMPONENTS);
    let digest = id.rsplit_once('+').map(|(_, digest)| digest).filter(|digest| !digest.is_empty());
    let entries = std::fs::read_dir(&components).into_iter().flatten();
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_wanted = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        stem.zip(digest).is_some_and(|(stem, digest)| stem.starts_with(digest))
    };
    paths.into_iter().find(is_wanted).with_context(|| {
        format!("the component of {id} is not in {}: name its file with --against", components.display())
    })
}

pub(super) fn time_text(at_ns: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ns)).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| at_ns.to_string())
}

#[cfg(test)]
mod tests {
    use marketprism_schema::Line;

    use super::*;

    fn recordings(adapters: &[(i64, &str)], span: TimeSpan) -> (tempfile::TempDir, Recordings) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        let mut text = Vec::new();
        for (at, id) in adapters {
            let kind = RecordingKind::Adapter;
            Line { at: *at, kind, conn: None, url: None, data: Some((*id).into()) }.write(&mut text).unwrap();
        }
        std::fs::write(&path, text).unwrap();
        let recordings = Recordings::new(&[path], span).unwrap();
        (folder, recordings)
    }

    #[test]
    fn the_version_of_a_span_is_the_last_one_before_it_and_several_are_refused_with_their_times() {
        let versions = [(1, "sim@1+a"), (5, "sim@1+a"), (10, "sim@2+b")];
        let of = |from_ns, to_ns| {
            let (_folder, recordings) = recordings(&versions, TimeSpan { from_ns, to_ns });
            version_of(&recordings).map_err(|error| error.to_string())
        };
        assert_eq!((of(2, 9).as_deref(), of(10, 20).as_deref()), (Ok("sim@1+a"), Ok("sim@2+b")));
        let refused = of(7, 11).unwrap_err();
        assert!(refused.contains("sim@1+a from") && refused.contains("sim@2+b from"), "{refused}");
        assert!(of(0, 1).unwrap_err().contains("do not show"));
    }

    #[test]
    fn a_span_that_is_not_kept_is_refused_with_the_times_that_are() {
        let folder = tempfile::tempdir().unwrap();
        let kept = |from_ns, to_ns| {
            let kept = kept_frames(folder.path(), TimeSpan { from_ns, to_ns });
            kept.map(|_| ()).map_err(|error| error.to_string())
        };
        assert!(kept(1, 2).unwrap_err().contains("no raw frames are kept"));
        std::fs::write(folder.path().join(format!("{:010}-{:019}.jsonl.zst", 1, 1_000_000_000)), "").unwrap();
        let early = kept(1, 2).unwrap_err();
        assert!(
            early.contains("--from: is 1970-01-01T00:00:00.000000001Z, allowed: from 1970-01-01T00:00:01Z"),
            "{early}"
        );
        assert!(kept(2_000_000_000, i64::MAX).unwrap_err().contains("--to: is"));
        assert!(kept(5, 5).unwrap_err().contains("a time before --to"));
        assert_eq!(kept(1_000_000_000, 2_000_000_000), Ok(()));
        let missing = kept_component(folder.path(), "sim@1+ab").unwrap_err().to_string();
        assert!(missing.contains("--against"), "{missing}");
    }
}
