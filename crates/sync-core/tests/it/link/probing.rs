//! Comparisons that may have been cut short without a word.

use serde_json::json;
use sync_core::model::BatchOutcome;
use sync_core::strategy::Window;

use super::*;

#[test]
fn a_comparison_of_which_the_relay_will_not_say_whether_it_was_cut_is_made_again() {
    let all = Window { since: 0, until: 1_700_000_900 };
    let compared = vec![Output::Shared { count: 5, oldest: Some(1_500) }, Output::Drained(all), done()];
    let strategy = Scripted::with("n", true, false, vec![vec![vec![neg_open(1)], compared]]);
    let mut bench = Bench::new(vec![strategy.clone()]);
    for batch in [1, 2] {
        bench.batch_of_run(batch, vec![Filter::new()], Some(1_600_000_000));
        let open = bench.take_sent().remove(0);
        assert_eq!(open[0], "NEG-OPEN");
        bench.relay_says(json!(["NEG-MSG", open[1], "61"]));
        let probes: Vec<Value> = bench.take_sent().into_iter().filter(|frame| frame[0] == "REQ").collect();
        probes.iter().for_each(|probe| bench.relay_says(json!(["CLOSED", probe[1], "restricted: not for you"])));
        assert_eq!(bench.reports.len() as u64, batch);
        if batch == 1 {
            assert_eq!(probes.len(), 1);
            assert!(matches!(bench.reports[0].outcome, BatchOutcome::Failed(_)));
        }
    }
    let windows: Vec<Window> = strategy.opened.lock().expect("lock").iter().map(|request| request.window).collect();
    assert_eq!(windows, [all, all], "nothing of it is drained");
}
