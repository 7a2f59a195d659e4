use tokio::task::JoinSet;

use super::*;

const FOREVER: Duration = Duration::from_secs(24 * 3600);

fn charge(budget: &str, units: u32) -> Charge {
    Charge { budget: budget.to_owned(), units }
}

/// Goal: whatever the concurrency, no rolling window holds more than the limit, and all of it is used.
/// Method: paused time; 30 tasks with charges of 1 to 5; the times of use are compared with every window.
#[tokio::test(start_paused = true)]
async fn no_window_ever_exceeds_the_limit() {
    let budgets = Budgets::new();
    let window = Duration::from_secs(60);
    budgets.define("weight", 20, window);
    let uses = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..30u32 {
        let (budgets, uses) = (budgets.clone(), Arc::clone(&uses));
        tasks.spawn(async move {
            for turn in 0..4u32 {
                let units = 1 + (task + turn) % 5;
                let mut permit = budgets.reserve(&[charge("weight", units)], FOREVER).await.unwrap();
                permit.begin_use();
                let from = Instant::now();
                tokio::time::sleep(Duration::from_millis(u64::from(50 * (task % 7)))).await;
                uses.lock().unwrap().push((from, Instant::now(), units));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let uses = uses.lock().unwrap();
    let total: u32 = uses.iter().map(|(_, _, units)| units).sum();
    for (_, first, _) in uses.iter() {
        // The worst case for us: the venue counted the first use at its end, the others at their beginning.
        let after = uses.iter().filter(|(from, to, _)| *to >= *first && *from < *first + window);
        let sum: u32 = after.map(|(_, _, units)| units).sum();
        assert!(sum <= 20, "{sum} units within a window");
    }
    let windows = u64::from(total.div_ceil(20));
    assert!(start.elapsed() < window * u32::try_from(windows * 3 / 2).unwrap(), "much slower than allowed");
}

/// Goal: first come, first served: a large charge is not overtaken for ever by small ones. Method: paused
/// time; order of grants.
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

async fn use_now(budgets: &Budgets, units: u32) -> Permit {
    let mut permit = budgets.reserve(&[charge("weight", units)], FOREVER).await.unwrap();
    permit.begin_use();
    permit
}

/// Goal: a charge above the budget is an error at once, not a wait for ever. Method: 11 of 10, also as a sum
/// of two.
#[tokio::test(start_paused = true)]
async fn a_charge_above_the_budget_is_an_error() {
    let budgets = Budgets::new();
    budgets.define("weight", 10, Duration::from_secs(1));
    let too_large = BudgetError::TooLarge { budget: "weight".to_owned(), units: 11, limit: 10 };
    assert_eq!(budgets.reserve(&[charge("weight", 11)], FOREVER).await.unwrap_err(), too_large);
    let sum = [charge("weight", 5), charge("weight", 6)];
    assert_eq!(budgets.reserve(&sum, FOREVER).await.unwrap_err(), too_large);
}

/// Goal: a blocked budget grants nothing until its time; who will not wait that long hears so at once.
/// Method: paused time.
#[tokio::test(start_paused = true)]
async fn a_block_keeps_everyone_away() {
    let budgets = Budgets::new();
    budgets.define("weight", 10, Duration::from_secs(1));
    budgets.block("weight", Duration::from_secs(120));
    let start = Instant::now();
    let remaining = Duration::from_secs(120);
    let refused = budgets.reserve(&[charge("weight", 1)], Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(refused, BudgetError::Blocked { budget: "weight".to_owned(), remaining });
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(use_now(&budgets, 1).await);
    assert!(start.elapsed() >= remaining && start.elapsed() < remaining + Duration::from_millis(5));
}

/// Goal: an unused permit gives its room back at once; a used one after a window; a full budget is an error
/// after the wait. Method: paused time.
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

/// Goal: what was charged before the plan defined the budget counts afterwards, and the stricter definition
/// holds. Method: paused time.
#[tokio::test(start_paused = true)]
async fn early_charges_count_and_the_stricter_limit_holds() {
    let budgets = Budgets::new();
    let start = Instant::now();
    drop(use_now(&budgets, 10).await);
    budgets.define("weight", 100, Duration::from_secs(10));
    budgets.define("weight", 10, Duration::from_secs(5));
    assert_eq!(budgets.usage().first().map(|usage| (usage.limit, usage.used)), Some((Some(10), 10)));
    drop(use_now(&budgets, 1).await);
    assert!(start.elapsed() >= Duration::from_secs(10));
}

/// Goal: callers that draw on the same two budgets in different orders never wait for each other in a circle.
/// Method: paused time, small budgets, many tasks.
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
