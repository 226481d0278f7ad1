//! The calls that a budget admits, and the effect of a provider's overruns.

use super::*;

#[tokio::test]
async fn a_budget_ends_the_run_before_a_call_that_might_exceed_it() {
    let prices = flat_prices();
    let body = |tokens: u64| {
        let choice = json!({"message": {"content": object(LEAK)}, "finish_reason": "stop"});
        json!({"choices": [choice], "usage": {"prompt_tokens": tokens - 1, "completion_tokens": 1}}).to_string()
    };
    let judge = FixedJudge::new(Ok(body(100)));
    let worst = |spent| {
        let budget = Budget::new(1.0, prices.clone(), cost::Way::Call, || 0, spent);
        budget.worst_case_usd(conversation(&judge, 9).request(), Cap::AsAsked)
    };
    assert!(worst(0.0) > 400e-6, "the reply's limit counts");
    let mut asked = options(9);
    // Room for one call, and afterwards for less than another call.
    asked.budget = Some(Arc::new(Budget::new(worst(0.0) + 50e-6, prices.clone(), cost::Way::Call, || 0, 0.0)));
    let error = ask_with(&judge, &MemoryJournal::default(), &asked).await.unwrap_err();
    let AskError::Budget { spent_usd, .. } = error else { panic!("{error:?}") };
    assert!((spent_usd - 100e-6).abs() < 1e-12 && judge.calls() == 1, "{spent_usd}");
    // The spending of earlier starts counts.
    asked.budget = Some(Arc::new(Budget::new(1.0, prices.clone(), cost::Way::Call, || 0, 1.0)));
    assert!(matches!(ask_with(&judge, &MemoryJournal::default(), &asked).await, Err(AskError::Budget { .. })));
    assert_eq!(judge.calls(), 1);
}

#[tokio::test]
async fn calls_in_flight_are_waited_for_before_a_budget_counts_as_spent() {
    let prices = flat_prices();
    let judge = FixedJudge::failing(Class::Transient, None);
    let request = request(&judge);
    let usd = Budget::new(1.0, prices.clone(), cost::Way::Call, || 0, 0.0).worst_case_usd(&request, Cap::AsAsked);
    let budget = Arc::new(Budget::new(1.5 * usd, prices, cost::Way::Call, || 0, 0.0));
    let first = budget.reserve(&request, Cap::AsAsked).await.unwrap();
    let mut second = std::pin::pin!(budget.reserve(&request, Cap::AsAsked));
    assert!(futures::poll!(&mut second).is_pending(), "the first call may turn out cheap");
    first.charge(Some(cost::Usage::default()));
    let second = second.await.unwrap();
    // The reservation is dropped without an end: the call may have been charged, so all of it counts.
    drop(second);
    assert!(matches!(budget.reserve(&request, Cap::AsAsked).await, Err(AskError::Budget { .. })));
}

#[tokio::test]
async fn a_provider_that_overruns_its_limits_has_more_set_aside_for_each_call_in_flight_or_to_come() {
    let judge = FixedJudge::failing(Class::Transient, None);
    let request = request(&judge);
    let new = |limit: f64| Budget::new(limit, flat_prices(), cost::Way::Call, || 0, 0.0);
    let allowed = cost::usage_max(&request, Cap::AsAsked);
    let usd = new(1.0).worst_case_usd(&request, Cap::AsAsked);
    let used = cost::Usage { completion_tokens: 10 * allowed.completion_tokens, ..allowed };
    let budget = Arc::new(new(30.0 * usd));
    let first = budget.reserve(&request, Cap::AsAsked).await.unwrap();
    let mut second = std::pin::pin!(budget.reserve(&request, Cap::AsAsked));
    assert!(futures::poll!(&mut second).is_pending(), "one call shows whether limits are kept");
    first.charge(Some(allowed));
    let second = second.await.unwrap();
    let third = budget.reserve(&request, Cap::AsAsked).await.unwrap();
    // Two calls are in flight, each of which may use ten times its limit: the rest of the budget is free.
    third.charge(Some(used));
    let worst = budget.worst_case_usd(&request, Cap::AsAsked);
    assert!(worst > usd && (worst - 10.0 * usd).abs() < 10.0 * usd);
    drop(second);
    let mut made = 0;
    let end = loop {
        match budget.reserve(&request, Cap::AsAsked).await {
            Ok(call) => call.charge(Some(used)),
            Err(error) => break error,
        }
        made += 1;
    };
    let AskError::Budget { spent_usd, limit_usd, overrun } = &end else { panic!("{end:?}") };
    assert!(made > 0 && spent_usd <= limit_usd, "{made} {end}");
    assert!(overrun.contains("10 times") && end.to_string().contains("10 times"), "{end}");
}

#[tokio::test]
async fn what_earlier_replies_showed_of_a_provider_is_known_from_the_start() {
    let judge = FixedJudge::failing(Class::Transient, None);
    let request = request(&judge);
    let allowed = cost::usage_max(&request, Cap::AsAsked);
    let mut overrun = crate::judge::overrun::Overrun::default();
    overrun.note(&cost::Usage { completion_tokens: 125 * allowed.completion_tokens, ..allowed }, &allowed);
    let budget = Budget::new(1.0, flat_prices(), cost::Way::Call, || 0, 0.0);
    let usd = budget.worst_case_usd(&request, Cap::AsAsked);
    let budget = Arc::new(budget.knowing(3, overrun));
    assert!(budget.worst_case_usd(&request, Cap::AsAsked) > 10.0 * usd);
    let calls = [(); 4].map(|()| budget.reserve(&request, Cap::AsAsked));
    let held = futures::future::join_all(calls).await;
    assert!(held.iter().all(Result::is_ok), "three replies allow for four calls at once");
    let mut fifth = std::pin::pin!(budget.reserve(&request, Cap::AsAsked));
    assert!(futures::poll!(&mut fifth).is_pending());
}

#[tokio::test]
async fn a_call_that_needs_another_slot_gets_it_while_others_wait_for_the_budget() {
    let refusal = r#"{"error":{"message":"bad","param":"response_format","code":"unsupported_parameter"}}"#;
    let server = Server::start(vec![Step::status(400, refusal), good(), good()]);
    let mut judge = OpenAiOptions::new(server.base_url(), "m");
    (judge.client.api_key, judge.client.concurrency_max) = (Some(SecretString::from(KEY)), 1);
    let (judge, journal) = (OpenAiJudge::new(judge).unwrap(), MemoryJournal::default());
    let mut asked = options(1);
    asked.budget = Some(Arc::new(Budget::new(1.0, flat_prices(), cost::Way::Call, || 0, 0.0)));
    let of = |question: &str| {
        let messages = vec![Message::system("rubric"), Message::user(question)];
        Conversation::with_messages(&judge, &CASE, messages, 1)
    };
    let (mut one, mut other) = (of("one"), of("other"));
    let (id_one, id_other) = (QueryId("one".to_owned()), QueryId("other".to_owned()));
    let both = async {
        let one = ask(&judge, &journal, &id_one, &mut one, &asked);
        futures::join!(one, ask(&judge, &journal, &id_other, &mut other, &asked))
    };
    let ends = tokio::time::timeout(Duration::from_secs(60), both).await.expect("nobody waits for ever");
    assert!(matches!(ends, (Ok(Judged::Accepted(_)), Ok(Judged::Accepted(_)))), "{ends:?}");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn who_is_cancelled_while_waiting_for_a_slot_has_spent_nothing() {
    let judge = http_judge("http://127.0.0.1:1");
    let request = request(&judge);
    let usd = Budget::new(1.0, flat_prices(), cost::Way::Call, || 0, 0.0).worst_case_usd(&request, Cap::AsAsked);
    let budget = Arc::new(Budget::new(1.5 * usd, flat_prices(), cost::Way::Call, || 0, 0.0));
    let mut slots = Vec::new();
    while let Some(slot) = futures::FutureExt::now_or_never(judge.admit(&request)) {
        slots.push(slot);
    }
    let mut asked = options(1);
    asked.budget = Some(Arc::clone(&budget));
    let journal = MemoryJournal::default();
    let mut asking = std::pin::pin!(ask_with(&judge, &journal, &asked));
    assert!(futures::poll!(&mut asking).is_pending());
    asked.cancel.cancel();
    assert!(matches!(asking.await, Err(AskError::Cancelled)));
    budget.reserve(&request, Cap::AsAsked).await.expect("all of it is left").release();
}

#[tokio::test]
async fn a_batch_without_its_factor_is_set_aside_and_charged_like_a_call() {
    let judge = FixedJudge::failing(Class::Transient, None);
    let request = request(&judge);
    let allowed = cost::usage_max(&request, Cap::AsAsked);
    let new = |limit: f64| Budget::new(limit, flat_prices(), cost::Way::Call, || 0, 0.0);
    let usd = new(1.0).worst_case_usd(&request, Cap::AsAsked);
    let budget = Arc::new(new(25.0 * usd));
    let batched = [(); 2].map(|()| budget.adopt(&allowed, cost::Way::Batch));
    let call = budget.reserve(&request, Cap::AsAsked).await.expect("there is room beside both");
    // The provider overruns: the reservations of the batches grow, and stay finite.
    call.charge(Some(cost::Usage { completion_tokens: 2 * allowed.completion_tokens, ..allowed }));
    budget.reserve(&request, Cap::AsAsked).await.expect("there still is room").release();
    let [used, unknown] = batched;
    used.charge(Some(allowed));
    drop(unknown);
    // The spending is at most two calls' worth: one usual call, and twice that for the call without a reply.
    budget.reserve(&request, Cap::AsAsked).await.expect("what is left is a number").release();
    let spent = Arc::new(new(2.5 * usd));
    let batched = [(); 2].map(|()| spent.adopt(&allowed, cost::Way::Batch));
    let mut third = std::pin::pin!(spent.reserve(&request, Cap::AsAsked));
    assert!(futures::poll!(&mut third).is_pending(), "a batch under way takes room");
    drop(batched);
    assert!(matches!(third.await, Err(AskError::Budget { .. })));
}
