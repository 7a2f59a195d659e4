use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use super::*;
use crate::counters::Counters;
use crate::rest::apply_refusal;

const FOREVER: Duration = Duration::from_secs(24 * 3600);

fn blocked(budgets: &Budgets) -> Option<Duration> {
    budgets.window("weight").state().blocked_until.map(|until| until - Instant::now())
}

fn charge(budget: &str, units: u32) -> Charge {
    Charge { budget: budget.to_owned(), units }
}

const HOUR: Duration = Duration::from_secs(3600);
const DISK: Duration = Duration::from_secs(60);

fn refuse(budgets: &Budgets, budget: &str, status: u16, time: Duration) {
    apply_refusal(budgets, &[charge(budget, 1)], &Counters::default(), status, Some(time));
}

#[tokio::test]
async fn a_block_is_known_after_a_restart_and_ends_at_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e1.budgets");
    let run = Budgets::kept_in(path.clone());
    refuse(&run, "weight", 418, HOUR);
    refuse(&run, "weight", 429, Duration::from_secs(15));
    refuse(&run, "connects", 429, Duration::from_secs(1));
    assert!(run.written(DISK).await);
    for next in [Budgets::kept_in(path.clone()), Budgets::blocked_by(&path)] {
        let left = blocked(&next).unwrap();
        assert!(left <= HOUR && left > HOUR - Duration::from_secs(60), "{left:?}");
        let refused = next.reserve(&[charge("weight", 1)], Duration::from_secs(60)).await;
        assert!(matches!(refused, Err(BudgetError::Blocked { .. })), "{refused:?}");
        next.reserve(&[charge("connects", 1)], Duration::ZERO).await.unwrap();
    }
    std::fs::write(&path, r#"{"weight":1}"#).unwrap();
    assert_eq!(blocked(&Budgets::kept_in(path.clone())), None, "it has ended");
    std::fs::write(&path, format!(r#"{{"weight":{}}}"#, i64::MIN)).unwrap();
    assert_eq!(blocked(&Budgets::kept_in(path.clone())), None, "a damaged file");
    std::fs::write(&path, "half a fi").unwrap();
    assert_eq!(blocked(&Budgets::kept_in(path)), None);
}

/// A block that had ended weeks ago lasted for three days after a start before the clock was synchronized.
#[tokio::test]
async fn a_clock_that_was_set_makes_no_block_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e1.budgets");
    let (length, day) = (Duration::from_secs(20), 86_400_000);
    let run = Budgets::kept_in(path.clone());
    refuse(&run, "weight", 429, length);
    assert!(run.written(DISK).await);
    let mut stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let until_ms = stored["weight"][0].as_i64().unwrap() + day;
    stored["weight"][0] = until_ms.into();
    std::fs::write(&path, stored.to_string()).unwrap();
    let left = blocked(&Budgets::kept_in(path.clone())).unwrap();
    assert!(left <= length, "{left:?}");
    std::fs::write(&path, format!(r#"{{"weight":{until_ms}}}"#)).unwrap();
    let left = blocked(&Budgets::kept_in(path)).unwrap();
    assert!(left <= crate::limits::BAN_MAX, "of an earlier build: {left:?}");
}

/// A person who set another proxy waited for the end of a refusal that no longer applied.
#[tokio::test]
async fn a_refusal_of_this_address_or_of_one_server_ends_with_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e1.budgets");
    let run = Budgets::kept_in(path.clone());
    for status in [403, 451, 503] {
        refuse(&run, "weight", status, HOUR);
    }
    assert!(blocked(&run).is_some() && run.written(DISK).await);
    assert_eq!(blocked(&Budgets::kept_in(path)), None);
}

#[tokio::test]
async fn a_block_that_the_disk_does_not_take_is_not_called_written() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("runs");
    let run = Budgets::kept_in(missing.join("e1.budgets"));
    refuse(&run, "weight", 418, HOUR);
    assert!(!run.written(DISK).await);
    std::fs::create_dir(&missing).unwrap();
    refuse(&run, "orders", 418, HOUR);
    assert!(run.written(DISK).await);
    assert_eq!(blocks::read(&missing.join("e1.budgets")).len(), 2);
}

/// A pipe that nobody reads stands for the disk that does not answer.
#[tokio::test]
async fn a_disk_that_hangs_holds_up_no_request_and_gets_every_block_when_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| folder.path().join(name);
    let (path, part, pipe) = (of("e1.budgets"), of("e1.budgets.part"), of("pipe"));
    assert!(std::process::Command::new("mkfifo").arg(&part).status().unwrap().success());
    std::fs::hard_link(&part, &pipe).unwrap();
    let run = Budgets::kept_in(path.clone());
    // A write on this thread would never end.
    ["spot", "margin", "weight"].iter().for_each(|budget| refuse(&run, budget, 418, HOUR));
    assert!(blocked(&run).is_some());
    assert!(!run.written(Duration::from_millis(50)).await);
    std::fs::remove_file(&part).unwrap();
    let _reader = std::thread::spawn(move || std::fs::read(pipe));
    // The write that hung has lost its file; the next one has its blocks too.
    run.written(DISK).await;
    refuse(&run, "orders", 418, HOUR);
    assert!(run.written(DISK).await);
    let kept: Vec<String> = blocks::read(&path).into_iter().map(|(budget, _)| budget).collect();
    assert_eq!(kept, ["margin", "orders", "spot", "weight"]);
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_used_up() {
    let budgets = Budgets::new();
    let window = Duration::from_secs(60);
    budgets.define("weight", 20, window);
    let start = Instant::now();
    let (mut tasks, mut total) = (JoinSet::new(), 0);
    for number in 0..120u32 {
        let (budgets, units) = (budgets.clone(), 1 + number % 5);
        total += units;
        tasks.spawn(async move {
            let permit = use_now(&budgets, units).await;
            tokio::time::sleep(Duration::from_millis(u64::from(50 * (number % 7)))).await;
            drop(permit);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert!(start.elapsed() < window * (total.div_ceil(20) * 3 / 2), "much slower than allowed");
}

#[tokio::test(start_paused = true)]
async fn no_window_of_any_budget_exceeds_its_limit() {
    for seed in 0..40u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let limits = [(); 2].map(|()| (random.random_range(3..30u32), random.random_range(50..5000u64)));
        let budgets = Budgets::new();
        for (name, (units, window)) in ["connects", "messages"].into_iter().zip(limits) {
            budgets.define(name, units, Duration::from_millis(window));
        }
        let uses = Arc::new(Mutex::new([const { Vec::new() }; 2]));
        let mut tasks = JoinSet::new();
        for _ in 0..25 {
            let (budgets, uses) = (budgets.clone(), Arc::clone(&uses));
            let mut random = StdRng::seed_from_u64(random.random());
            tasks.spawn(async move {
                for _ in 0..6 {
                    let wanted = limits.map(|(units, _)| random.random_range(0..=units.min(6)));
                    let pause = Duration::from_millis(random.random_range(0..300));
                    let takes = Duration::from_millis(random.random_range(0..200));
                    tokio::time::sleep(pause).await;
                    let charges = [charge("messages", wanted[1]), charge("connects", wanted[0])];
                    let mut permit = budgets.reserve(&charges, FOREVER).await.unwrap();
                    if random.random_bool(0.1) {
                        continue;
                    }
                    permit.begin_use();
                    let from = Instant::now();
                    tokio::time::sleep(takes).await;
                    let mut uses = uses.lock().unwrap();
                    for (one, units) in uses.iter_mut().zip(wanted) {
                        one.push((from, Instant::now(), units));
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let uses = uses.lock().unwrap();
        for (uses, (limit, window)) in uses.iter().zip(limits) {
            let window = Duration::from_millis(window);
            for (_, first, _) in uses {
                // Worst case: the venue counts the first use at its end, the others at their start.
                let within = uses.iter().filter(|(from, to, _)| *to >= *first && *from < *first + window);
                let sum: u32 = within.map(|(_, _, units)| units).sum();
                assert!(sum <= limit, "seed {seed}: {sum} units of {limit} within {window:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_in_a_row_block_for_longer() {
    let budgets = Budgets::new();
    let seconds = Duration::from_secs;
    let refused = |named| budgets.refused("weight", named, seconds(120), seconds(600));
    for wanted in [120, 240, 480, 600, 600] {
        assert_eq!(refused(None), seconds(wanted));
        assert_eq!(refused(None), seconds(wanted));
        assert_eq!(blocked(&budgets), Some(seconds(wanted)));
        tokio::time::advance(seconds(wanted)).await;
    }
    budgets.served(&[charge("weight", 1)]);
    assert_eq!(refused(None), seconds(120));
    assert_eq!(refused(Some(seconds(5))), seconds(5));
    assert_eq!(blocked(&budgets), Some(seconds(120)));
    assert_eq!(refused(Some(seconds(7200))), seconds(7200));
    assert_eq!(blocked(&budgets), Some(seconds(7200)));
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order() {
    let budgets = Budgets::new();
    budgets.define("weight", 10, Duration::from_secs(1));
    drop(use_now(&budgets, 8).await);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for (name, units) in [("large", 10), ("small", 1), ("smaller", 1)] {
        let (budgets, order) = (budgets.clone(), Arc::clone(&order));
        tasks.spawn(async move {
            let permit = use_now(&budgets, units).await;
            order.lock().unwrap().push(name);
            drop(permit);
        });
        tokio::task::yield_now().await;
    }
    while tasks.join_next().await.is_some() {}
    assert_eq!(*order.lock().unwrap(), ["large", "small", "smaller"]);
}

async fn use_now(budgets: &Budgets, units: u32) -> BudgetPermit {
    let mut permit = budgets.reserve(&[charge("weight", units)], FOREVER).await.unwrap();
    permit.begin_use();
    permit
}

#[tokio::test(start_paused = true)]
async fn a_charge_above_the_budget_is_an_error() {
    let budgets = Budgets::new();
    budgets.define("weight", 10, Duration::from_secs(1));
    let too_large = BudgetError::TooLarge { budget: "weight".to_owned(), units: 11, limit: 10 };
    assert_eq!(budgets.reserve(&[charge("weight", 11)], FOREVER).await.unwrap_err(), too_large);
    let sum = [charge("weight", 5), charge("weight", 6)];
    assert_eq!(budgets.reserve(&sum, FOREVER).await.unwrap_err(), too_large);
}

#[tokio::test(start_paused = true)]
async fn a_block_holds_for_all_charges() {
    let budgets = Budgets::new();
    budgets.define("weight", 10, Duration::from_secs(1));
    budgets.refused("weight", Some(Duration::from_secs(120)), Duration::ZERO, Duration::ZERO);
    let start = Instant::now();
    let remaining = Duration::from_secs(120);
    let refused = budgets.reserve(&[charge("weight", 1)], Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(refused, BudgetError::Blocked { budget: "weight".to_owned(), remaining });
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(use_now(&budgets, 1).await);
    assert!(start.elapsed() >= remaining && start.elapsed() < remaining + Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn room_comes_back_when_it_should() {
    let budgets = Budgets::new();
    budgets.define("weight", 1, Duration::from_secs(10));
    drop(budgets.reserve(&[charge("weight", 1)], FOREVER).await.unwrap());
    let start = Instant::now();
    let held = use_now(&budgets, 1).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    let wait = Duration::from_secs(3);
    let refused = budgets.reserve(&[charge("weight", 1)], wait).await.unwrap_err();
    assert_eq!(refused, BudgetError::Exhausted { budget: "weight".to_owned(), waited: wait });
    drop(held);
    drop(use_now(&budgets, 1).await);
    assert!(start.elapsed() >= Duration::from_secs(13) && start.elapsed() < Duration::from_millis(13_005));
}

#[tokio::test(start_paused = true)]
async fn early_charges_count_and_the_stricter_limit_holds() {
    let budgets = Budgets::new();
    let start = Instant::now();
    drop(use_now(&budgets, 10).await);
    budgets.define("weight", 100, Duration::from_secs(10));
    budgets.define("weight", 10, Duration::from_secs(5));
    let window = budgets.window("weight");
    assert_eq!(window.state().limit.map(|limit| limit.units), Some(10));
    assert_eq!(window.state().used(), 10);
    drop(use_now(&budgets, 1).await);
    assert!(start.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn two_budgets_cannot_deadlock() {
    let budgets = Budgets::new();
    budgets.define("a", 2, Duration::from_millis(100));
    budgets.define("b", 2, Duration::from_millis(100));
    let mut tasks = JoinSet::new();
    for task in 0..20 {
        let budgets = budgets.clone();
        let charges = if task % 2 == 0 { ["a", "b"] } else { ["b", "a"] }.map(|name| charge(name, 1));
        tasks.spawn(async move {
            let mut permit = budgets.reserve(&charges, FOREVER).await.unwrap();
            permit.begin_use();
            tokio::time::sleep(Duration::from_millis(10)).await;
        });
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_can_wait_leaves_half_of_a_budget_and_goes_behind_those_that_wait() {
    let budgets = Budgets::new();
    let window = Duration::from_secs(60);
    budgets.define("weight", 20, window);
    let spare = async |units, wait| budgets.spare(&[charge("weight", units)], wait).await;
    assert!(spare(10, Duration::ZERO).await.is_ok(), "half");
    drop(use_now(&budgets, 1).await);
    let scarce = spare(10, Duration::from_secs(1)).await;
    assert!(matches!(scarce, Err(BudgetError::Exhausted { .. })), "{scarce:?}");
    assert!(spare(9, Duration::ZERO).await.is_ok());
    let start = Instant::now();
    assert!(spare(15, FOREVER).await.is_ok(), "dearer than the half: alone");
    assert!(start.elapsed() >= window - Duration::from_secs(1));
    drop(use_now(&budgets, 20).await);
    let waiting = tokio::spawn({
        let budgets = budgets.clone();
        async move { drop(use_now(&budgets, 20).await) }
    });
    tokio::time::sleep(window - Duration::from_millis(1)).await;
    assert!(spare(1, Duration::ZERO).await.is_err(), "another one waits");
    waiting.await.unwrap();
    assert!(spare(1, FOREVER).await.is_ok());
}
