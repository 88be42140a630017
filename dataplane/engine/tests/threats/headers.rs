//! Headers that lie, hide or end too soon.

use sluice_core::drop::DropReason::{self, InvalidTcpFlags};

use crate::packets::tcp;
use crate::{At, tell};

tell!(case_17_flags_that_no_host_sends);

fn case_17_flags_that_no_host_sends(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    let segment = tcp("client:4000", "server:80");
    for flags in ["SF", "SR", "SFRPAU", "FR", "", "FPU", "F", "PU"] {
        for v6 in [false, true] {
            story.sends("client", segment.clone().over(v6).flags(flags)).dropped(InvalidTcpFlags);
        }
    }
    story.sends("client", tcp("client:4000", "server:81")).dropped(DropReason::IngressDenied);
    story.tracks(0);
    story.sends("client", &segment).reaches("server");
    story.tracks(1);
}
