//! How many files and sockets the process may have open, and how they are divided.
//!
//! Invariant: connections and requests together can never take the descriptors that stores need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Least number of descriptors kept back for stores, databases and files of the process itself.
const LEAST_KEPT: u64 = 64;
/// Descriptors that an answer has open at the same time: the file, and a spool file of what is inflated.
const BY_REQUEST: u64 = 2;
/// Descriptors that a store request has open at the same time, when many run.
const BY_STORE: u64 = 4;

/// How descriptors are divided.
#[derive(Debug, PartialEq, Eq)]
struct Division {
    connections: usize,
    requests: usize,
    store_requests: usize,
}

/// Raises the soft limit to the hard one, and lowers what was configured to what fits.
pub(super) fn prepare(config: &mut Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            limit.current
        }
    };
    // None is no limit.
    let Some(files) = files else {
        return;
    };
    let wanted = Division {
        connections: config.http.connections.max(1),
        requests: config.limits.requests.max(1),
        store_requests: config.limits.store_requests.max(1),
    };
    let fits = divide(files, &wanted);
    if fits != wanted {
        tracing::warn!(
            files,
            connections = fits.connections,
            requests = fits.requests,
            store_requests = fits.store_requests,
            "few files may be open at a time (ulimit -n): STOWAGE_CONNECTIONS, STOWAGE_REQUESTS and STOWAGE_STORE_REQUESTS \
             are lowered"
        );
    }
    config.http.connections = fits.connections;
    config.limits.requests = fits.requests;
    config.limits.store_requests = fits.store_requests;
}

/// A quarter is kept back for stores, a quarter is for answers at most, and the rest for connections.
fn divide(files: u64, wanted: &Division) -> Division {
    let kept = (files / 4).max(LEAST_KEPT).min(files / 2);
    let at_most = |wanted: usize, most: u64| {
        wanted
            .min(usize::try_from(most).unwrap_or(usize::MAX))
            .max(1)
    };
    let requests = at_most(wanted.requests, files / 4 / BY_REQUEST);
    let rest = files
        .saturating_sub(kept)
        .saturating_sub(requests as u64 * BY_REQUEST);
    Division {
        connections: at_most(wanted.connections, rest),
        requests,
        store_requests: at_most(wanted.store_requests, kept / BY_STORE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Division = Division {
        connections: 4096,
        requests: 1024,
        store_requests: 256,
    };

    #[test]
    fn what_is_configured_stays_where_there_are_files_enough() {
        assert_eq!(divide(1 << 20, &WANTED), WANTED);
        assert_eq!(divide(20_000, &WANTED), WANTED);
    }

    #[test]
    fn few_files_are_divided_so_that_stores_find_theirs() {
        for files in [1, 16, 64, 256, 1024, 4096, 8192] {
            let Division {
                connections,
                requests,
                store_requests,
            } = divide(files, &WANTED);
            assert!(connections >= 1 && requests >= 1 && store_requests >= 1);
            if files >= 256 {
                let taken = connections as u64 + requests as u64 * BY_REQUEST;
                assert!(taken + LEAST_KEPT <= files, "{files}");
                assert!(store_requests as u64 * BY_STORE <= files / 4, "{files}");
                assert!(connections >= 64, "{files}: {connections}");
            }
        }
    }
}
