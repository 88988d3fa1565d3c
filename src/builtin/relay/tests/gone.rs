//! One side is gone while both wait for the other to read.

use crate::builtin::relay::tests::*;

#[test]
fn for_a_side_that_is_gone_the_other_is_read_until_it_has_taken_the_rest() {
    // Each waits for the other: the client does not read, nor does the target, which echoes.
    let mut bench = Bench::new(End::new(5, 1 << 20), End::new(5, 1 << 20), CHUNK);
    bench.client.send(b"question, long");
    bench.target.send(b"answer, long");
    bench.settle();
    bench.target.send(&[b'x'; 99]);
    bench.client.reset = true;
    bench.client.finish();
    bench.settle();
    assert!(bench.target.incoming.is_empty() && !bench.finished);
    while !bench.finished {
        assert!(!bench.target.fetch(5).is_empty());
        bench.settle();
    }
    assert!(bench.relay.resets(Side::Target) && !bench.target.outgoing_ended);
}

#[test]
fn who_only_talks_is_read_for_a_side_that_is_gone_within_bounds() {
    let mut bench = Bench::new(End::new(0, 1 << 20), End::new(5, 1 << 20), CHUNK);
    bench.client.send(b"question, long");
    bench.settle();
    bench.client.reset = true;
    for _ in 0..=THROWN / CHUNK {
        assert!(!bench.finished);
        bench.target.send(&[b'x'; CHUNK]);
        bench.settle();
    }
    bench.target.send(b"x");
    bench.settle();
    assert!(bench.finished);
}
