use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A server that a test can take down.
#[derive(Clone, Default)]
struct Server {
    is_down: Arc<AtomicBool>,
    probes: Arc<AtomicUsize>,
}

impl Server {
    fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    fn breaker(&self, patience_s: u64) -> Arc<Breaker> {
        let server = self.clone();
        let probe = move || {
            server.probes.fetch_add(1, Ordering::Relaxed);
            let answer = if server.is_down.load(Ordering::Relaxed) { Err(busy()) } else { Ok(()) };
            async { answer }.boxed()
        };
        Arc::new(Breaker::new(BreakerOptions { probe: Some(Arc::new(probe)), ..options(patience_s) }))
    }
}

fn options(patience_s: u64) -> BreakerOptions {
    let patience = (patience_s > 0).then(|| Duration::from_secs(patience_s));
    BreakerOptions { side: "policy", patience, probe: None, was_served: false, servers: 1, clock: || 0 }
}

fn failure(class: Class, status: Option<u16>, detail: &str) -> CallFailure {
    CallFailure { class, status, retry_after: None, detail: detail.to_owned(), refused: None, body: None }
}

fn busy() -> CallFailure {
    failure(Class::Transient, Some(503), "HTTP 503: Loading model")
}

fn reset() -> CallFailure {
    failure(Class::Transient, None, "connection reset")
}

fn refused(words: &str) -> CallFailure {
    failure(Class::FatalRequest, Some(400), words)
}

async fn serve(breaker: &Breaker, query: &str) {
    breaker.leave(query).await.unwrap().served();
}

async fn fail(breaker: &Breaker, query: &str, failure: &CallFailure) -> Result<Blame, Denied> {
    breaker.leave(query).await?.failed(failure).await
}

#[tokio::test(start_paused = true)]
async fn what_no_query_can_cause_is_never_charged() {
    let server = Server::default();
    let breaker = server.breaker(3600);
    for failed in [
        busy(),
        failure(Class::Transient, Some(429), "slow down"),
        failure(Class::Transient, Some(502), "<html>"),
        failure(Class::Transient, Some(521), "web server is down"),
        failure(Class::Unreachable, None, "connection refused"),
    ] {
        assert_eq!(fail(&breaker, "a", &failed).await, Ok(Blame::Server), "{failed:?}");
        serve(&breaker, "b").await;
    }
    assert_eq!(breaker.notice(), None);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_be_the_requests_is_settled_by_a_probe() {
    let server = Server::default();
    let breaker = server.breaker(3600);
    assert_eq!(fail(&breaker, "a", &reset()).await, Ok(Blame::Request));
    assert_eq!(server.probes.load(Ordering::Relaxed), 1);
    server.set_down(true);
    assert_eq!(fail(&breaker, "a", &reset()).await, Ok(Blame::Server));
    assert_eq!(breaker.state().outages, 1);
    assert!(breaker.notice().unwrap().contains("no reply from the policy since 00:00:00 UTC: HTTP 503: Loading model"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_served_later_settles_it_without_a_probes_answer() {
    let hanging = || std::future::pending::<Result<(), CallFailure>>().boxed();
    let breaker = Breaker::new(BreakerOptions { probe: Some(Arc::new(hanging)), ..options(3600) });
    let earlier = breaker.leave("early").await.unwrap();
    let failed = reset();
    let mut blamed = Box::pin(fail(&breaker, "a", &failed));
    assert!(futures::poll!(&mut blamed).is_pending());
    // This request was sent earlier, and may have succeeded before the server fell.
    earlier.served();
    assert!(futures::poll!(&mut blamed).is_pending());
    serve(&breaker, "late").await;
    assert_eq!(blamed.await, Ok(Blame::Request));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_request_that_is_served_while_the_probe_fails_starts_no_endless_probing() {
    let server = Server::default();
    let (failed, down) = (reset(), server.clone());
    let slow = move || {
        let down = down.clone();
        async move {
            down.probes.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(SECOND).await;
            Err(failure(Class::Unreachable, None, "refused"))
        }
        .boxed()
    };
    let breaker = Breaker::new(BreakerOptions { probe: Some(Arc::new(slow)), ..options(60) });
    let early = breaker.leave("early").await.unwrap();
    let (blamed, ()) = futures::join!(fail(&breaker, "a", &failed), async {
        tokio::time::sleep(SECOND / 2).await;
        early.served();
    });
    assert_eq!(blamed, Ok(Blame::Server));
    assert_eq!(server.probes.load(Ordering::Relaxed), 1);
    assert!(matches!(breaker.leave("a").await, Err(Denied::Outage { .. })), "patience ends it");
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_requests_wait_and_one_probes() {
    let server = Server::default();
    let breaker = server.breaker(3600);
    serve(&breaker, "a").await;
    server.set_down(true);
    for _ in 0..FAILURES_IN_A_ROW {
        assert_eq!(fail(&breaker, "a", &busy()).await, Ok(Blame::Server));
    }
    let waiting: Vec<_> = (0..50)
        .map(|index| {
            let breaker = Arc::clone(&breaker);
            tokio::spawn(async move { serve(&breaker, &format!("q{index}")).await })
        })
        .collect();
    tokio::time::sleep(600 * SECOND).await;
    assert!(waiting.iter().all(|task| !task.is_finished()));
    let probes = server.probes.load(Ordering::Relaxed);
    assert!((20..=30).contains(&probes), "{probes}: at once, then ever more seldom, up to half a minute");
    assert_eq!(breaker.state().outages, 1);
    server.set_down(false);
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(breaker.notice(), None);
}

#[tokio::test(start_paused = true)]
async fn patience_ends_resumably_and_zero_waits_for_ever() {
    let server = Server::default();
    server.set_down(true);
    for (patience_s, is_over) in [(60, true), (0, false)] {
        let breaker = server.breaker(patience_s);
        assert_eq!(fail(&breaker, "a", &failure(Class::Unreachable, None, "refused")).await, Ok(Blame::Server));
        let waited = tokio::time::timeout(100_000 * SECOND, breaker.leave("a")).await;
        match waited {
            Ok(Err(Denied::Outage { side, message })) => {
                assert!(is_over && side == "policy" && message.contains("Loading model"), "{message}");
            }
            Ok(_) => panic!("nobody was served"),
            Err(_) => assert!(!is_over),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_but_429_for_long_is_an_outage_too() {
    let limited = failure(Class::Transient, Some(429), "free-models-per-day");
    let probe = {
        let limited = limited.clone();
        move || {
            let answer = Err(limited.clone());
            async { answer }.boxed()
        }
    };
    let breaker = Breaker::new(BreakerOptions { probe: Some(Arc::new(probe)), ..options(600) });
    let end = loop {
        match fail(&breaker, "a", &limited).await {
            Ok(blame) => assert_eq!(blame, Blame::Server),
            Err(denied) => break denied,
        }
        tokio::time::sleep(SECOND).await;
    };
    assert!(matches!(&end, Denied::Outage { message, .. } if message.contains("free-models-per-day")), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wish_beyond_patience_stops_at_once_and_names_the_time() {
    let server = Server::default();
    let breaker = server.breaker(3600);
    let tomorrow = CallFailure { retry_after: Some(26_130 * SECOND), ..failure(Class::Transient, Some(429), "daily") };
    let Err(Denied::Outage { message, .. }) = fail(&breaker, "a", &tomorrow).await else { panic!() };
    assert!(message.contains("at 07:15:30 UTC, in 7 h 15 min: daily"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_alone_is_charged_and_who_is_refused_with_all_others_stops_the_run() {
    let breaker = Server::default().breaker(3600);
    let words = |number: usize| format!("HTTP 400: Unsupported parameter at position {number}");
    // One refusal among many successes.
    serve(&breaker, "a").await;
    let blocked = refused("HTTP 403: <title>Blocked</title>");
    let mut blamed = Box::pin(fail(&breaker, "b", &blocked));
    assert!(futures::poll!(&mut blamed).is_pending());
    serve(&breaker, "c").await;
    assert_eq!(blamed.await, Ok(Blame::Request));
    // All refusals are alike except for the numbers in their texts: few before any success, many after a success.
    for (breaker, queries) in [(breaker, OWN_REFUSALS_ALIKE), (Server::default().breaker(3600), REFUSALS_ALIKE)] {
        let all = (0..queries).map(|index| {
            let breaker = Arc::clone(&breaker);
            async move { fail(&breaker, &format!("q{index}"), &refused(&words(index))).await }
        });
        for end in futures::future::join_all(all).await {
            let Err(Denied::Refused { message, status: Some(400), .. }) = end else { panic!("{end:?}") };
            assert!(message.contains("the server refuses every request: HTTP 400: Unsupported parameter"), "{message}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn prompts_that_are_too_long_stop_the_run_only_if_very_many_are() {
    let breaker = Server::default().breaker(3600);
    let too_long = refused("HTTP 400: This model's maximum context length is 4096 tokens");
    let all = (0..2 * REFUSALS_ALIKE).map(|index| {
        let (breaker, too_long) = (Arc::clone(&breaker), too_long.clone());
        async move { fail(&breaker, &format!("q{index}"), &too_long).await }
    });
    let all = futures::future::join_all(all);
    let served = async {
        tokio::time::sleep(SECOND).await;
        serve(&breaker, "short").await;
    };
    let (ends, ()) = futures::join!(all, served);
    assert!(ends.iter().all(|end| *end == Ok(Blame::Request)), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_all_there_are_stops_the_run_if_nobody_was_ever_served() {
    let breaker = Server::default().breaker(3600);
    assert!(matches!(fail(&breaker, "only", &refused("no chat model")).await, Err(Denied::Refused { .. })));
    let resumed = Breaker::new(BreakerOptions { was_served: true, ..options(3600) });
    assert_eq!(fail(&resumed, "last", &refused("no")).await, Ok(Blame::Request));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_stops_at_once() {
    let breaker = Server::default().breaker(3600);
    serve(&breaker, "a").await;
    for status in [401, 402] {
        let end = fail(&Server::default().breaker(3600), "a", &failure(Class::FatalRun, Some(status), "no")).await;
        assert!(matches!(end, Err(Denied::Refused { .. })), "{end:?}");
    }
}

/// A server that the query `poison` takes down for five seconds.
async fn ask(breaker: &Breaker, server: &Server, query: &str) -> Result<(), Denied> {
    loop {
        let leave = breaker.leave(query).await?;
        tokio::time::sleep(SECOND).await;
        let is_down = server.is_down.load(Ordering::Relaxed);
        if query == "poison" && !is_down {
            server.set_down(true);
            let server = server.clone();
            tokio::spawn(async move {
                tokio::time::sleep(5 * SECOND).await;
                server.set_down(false);
            });
        }
        if query != "poison" && !is_down {
            leave.served();
            return Ok(());
        }
        let failed = if is_down { busy() } else { reset() };
        assert_eq!(leave.failed(&failed).await?, Blame::Server, "nothing is charged to {query}");
        tokio::time::sleep(SECOND / 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_that_fells_its_server_is_found_and_the_others_are_served() {
    let server = Server::default();
    let breaker = server.breaker(3600);
    let names: Vec<String> = (0..20).map(|index| format!("q{index}")).chain(["poison".to_owned()]).collect();
    let mut suspects = Vec::new();
    for chunk in names.chunks(7).rev() {
        let asked = chunk.iter().map(|name| ask(&breaker, &server, name));
        for (name, end) in chunk.iter().zip(futures::future::join_all(asked).await) {
            match end {
                Ok(()) => {}
                Err(Denied::Suspect) => suspects.push(name.clone()),
                end => panic!("{name}: {end:?}"),
            }
        }
    }
    assert!(suspects.contains(&"poison".to_owned()));
    for name in suspects {
        let _alone = breaker.alone(&name);
        let end = ask(&breaker, &server, &name).await;
        if name == "poison" {
            assert!(matches!(&end, Err(Denied::Fells(words)) if words.contains("503")), "{end:?}");
            // All requests of the query receive the same end, and none of them counts as another suspect.
            for _ in 0..2 * FELLED_IN_A_ROW {
                assert!(matches!(ask(&breaker, &server, &name).await, Err(Denied::Fells(_))));
            }
        } else {
            assert_eq!(end, Ok(()), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_at_every_query_is_at_fault_itself() {
    let server = Server::default();
    let breaker = Breaker::new(BreakerOptions {
        was_served: true,
        probe: server.breaker(0).options.probe.clone(),
        ..options(3600)
    });
    let breaker = Arc::new(breaker);
    let mut felled = 0;
    for index in 0.. {
        let name = format!("q{index}");
        let _alone = breaker.alone(&name);
        let end = loop {
            let leave = match breaker.leave(&name).await {
                Ok(leave) => leave,
                Err(denied) => break denied,
            };
            server.set_down(true);
            let back = {
                let server = server.clone();
                async move {
                    tokio::time::sleep(5 * SECOND).await;
                    server.set_down(false);
                }
            };
            let failed = reset();
            let (blame, ()) = futures::join!(leave.failed(&failed), back);
            assert_eq!(blame, Ok(Blame::Server));
        };
        match end {
            Denied::Fells(_) => felled += 1,
            Denied::Outage { message, .. } => {
                assert!(message.contains("in a row"), "{message}");
                break;
            }
            end => panic!("{end:?}"),
        }
    }
    assert_eq!(felled, FELLED_IN_A_ROW - 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_nothing_but_probes_is_at_fault_and_is_then_probed_by_requests() {
    let server = Server::default();
    let breaker = server.breaker(600);
    let mut charged = 0;
    let end = loop {
        let asked = (0..20).map(|index| {
            let breaker = Arc::clone(&breaker);
            async move { fail(&breaker, &format!("q{index}"), &reset()).await }
        });
        let ends = futures::future::join_all(asked).await;
        charged += ends.iter().filter(|end| **end == Ok(Blame::Request)).count();
        if let Some(end) = ends.into_iter().find_map(Result::err) {
            break end;
        }
    };
    assert!(charged < FAILURES_IN_A_ROW as usize, "{charged} attempts were charged");
    assert!(matches!(&end, Denied::Outage { message, .. } if message.contains("connection reset")), "{end:?}");
    let sent = breaker.state().sent;
    assert!(sent < 100, "{sent} requests were sent in ten minutes");
    // Refusals need no patience: the server is reachable.
    let breaker = server.breaker(3);
    serve(&breaker, "a").await;
    for _ in 0..3 {
        assert_eq!(fail(&breaker, "b", &refused("no")).await, Ok(Blame::Request));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_probe_a_request_is_one() {
    let breaker = Breaker::new(options(3600));
    for _ in 0..FAILURES_IN_A_ROW {
        assert_eq!(fail(&breaker, "a", &busy()).await, Ok(Blame::Server));
    }
    // One request is sent first; the other waits for its end.
    let first = breaker.leave("a").await.unwrap();
    let mut second = Box::pin(breaker.leave("b"));
    assert!(futures::poll!(&mut second).is_pending());
    assert_eq!(first.failed(&busy()).await, Ok(Blame::Server));
    second.await.unwrap().served();
    serve(&breaker, "a").await;
}

#[tokio::test(start_paused = true)]
async fn who_was_under_way_when_nothing_could_be_reached_is_no_suspect() {
    let server = Server::default();
    let breaker = server.breaker(3600);
    for unreached in
        [failure(Class::Unreachable, None, "connection refused"), failure(Class::Transient, Some(429), "later")]
    {
        for _ in 0..=OUTAGES_TO_SUSPECT {
            server.set_down(true);
            let waiting = breaker.leave("innocent").await.unwrap();
            assert_eq!(fail(&breaker, "other", &unreached).await, Ok(Blame::Server));
            breaker.open(&mut breaker.state());
            let next = tokio::time::timeout(10 * SECOND, breaker.leave("third")).await;
            assert!(next.is_err(), "the server is away");
            server.set_down(false);
            assert_eq!(waiting.failed(&unreached).await, Ok(Blame::Server));
            serve(&breaker, "other").await;
        }
    }
    assert!(breaker.state().outages > u64::from(OUTAGES_TO_SUSPECT));
    serve(&breaker, "innocent").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_sent_before_an_outage_ends_none_when_it_is_served() {
    let server = Server::default();
    let breaker = server.breaker(3600);
    let mut earlier = Vec::new();
    for query in 0..4 {
        earlier.push(breaker.leave(&format!("slow {query}")).await.unwrap());
    }
    server.set_down(true);
    assert_eq!(fail(&breaker, "a", &busy()).await, Ok(Blame::Server));
    breaker.open(&mut breaker.state());
    for leave in earlier {
        let next = tokio::time::timeout(10 * SECOND, breaker.leave("a")).await;
        assert!(next.is_err(), "the server is away");
        leave.served();
    }
    assert_eq!(breaker.state().outages, 1);
    server.set_down(false);
    serve(&breaker, "a").await;
    assert!(breaker.notice().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_request_sent_between_the_first_failure_and_its_outage_ends_none_when_it_is_served() {
    let slow = || {
        async {
            tokio::time::sleep(SECOND).await;
            Err(busy())
        }
        .boxed()
    };
    let breaker = Breaker::new(BreakerOptions { probe: Some(Arc::new(slow)), ..options(3600) });
    let failed = reset();
    let mut blamed = Box::pin(fail(&breaker, "a", &failed));
    assert!(futures::poll!(&mut blamed).is_pending());
    let between = breaker.leave("b").await.unwrap();
    assert_eq!(blamed.await, Ok(Blame::Server));
    between.served();
    assert!(breaker.notice().is_some(), "the server may have fallen after it was served");
    assert!(tokio::time::timeout(SECOND / 2, breaker.leave("c")).await.is_err());
}

fn limited(wish_s: u64) -> CallFailure {
    let wish = Some(Duration::from_secs(wish_s));
    CallFailure { retry_after: wish, ..failure(Class::Transient, Some(429), "daily limit") }
}

#[tokio::test(start_paused = true)]
async fn a_wish_beyond_patience_stops_whoever_rests_though_others_wait_for_the_server() {
    let breaker = Server::default().breaker(3600);
    // These requests hold leave, and wait for a paused server.
    let _waiting = [breaker.leave("b").await.unwrap(), breaker.leave("c").await.unwrap()];
    assert_eq!(fail(&breaker, "a", &limited(26_130)).await, Ok(Blame::Server));
    let started = Instant::now();
    let end = breaker.rest(120 * SECOND).await;
    assert!(matches!(&end, Err(Denied::Outage { message, .. }) if message.contains("07:15:")), "{end:?}");
    assert!(started.elapsed() <= 3 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn while_another_server_serves_a_wish_beyond_patience_stops_nobody() {
    let breaker = Breaker::new(BreakerOptions { servers: 2, ..options(3600) });
    let other = breaker.leave("b").await.unwrap();
    assert_eq!(fail(&breaker, "a", &limited(26_130)).await, Ok(Blame::Server));
    let served = async {
        tokio::time::sleep(20 * SECOND).await;
        other.served();
    };
    let (rested, ()) = futures::join!(breaker.rest(120 * SECOND), served);
    assert_eq!(rested, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn whoever_rests_hears_of_the_end_of_patience() {
    let breaker = Server::default().breaker(30);
    let _waiting = [breaker.leave("b").await.unwrap(), breaker.leave("c").await.unwrap()];
    assert_eq!(fail(&breaker, "a", &failure(Class::Transient, Some(429), "slow down")).await, Ok(Blame::Server));
    let started = Instant::now();
    assert!(matches!(breaker.rest(120 * SECOND).await, Err(Denied::Outage { .. })));
    assert_eq!(started.elapsed(), 30 * SECOND);
}

/// Refuses these queries repeatedly, until only they remain.
async fn refuse_left_over(breaker: &Breaker, queries: &[String]) {
    for _ in 0..8 {
        let words = refused("max_tokens is too large");
        let all = queries.iter().map(|query| fail(breaker, query, &words));
        let ends = futures::future::join_all(all).await;
        assert!(ends.iter().all(|end| *end == Ok(Blame::Request)), "{ends:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refused_queries_that_are_left_over_stop_no_run() {
    let breaker = Server::default().breaker(3600);
    let queries: Vec<String> = (0..60).map(|index| format!("q{index}")).collect();
    for query in &queries {
        let served = async {
            tokio::time::sleep(SECOND).await;
            serve(&breaker, "other").await;
        };
        let words = refused("max_tokens is too large");
        let (end, ()) = futures::join!(fail(&breaker, query, &words), served);
        assert_eq!(end, Ok(Blame::Request));
    }
    refuse_left_over(&breaker, &queries).await;
    // Therefore the next start begins with them.
    let resumed = Breaker::new(BreakerOptions { was_served: true, ..options(3600) });
    queries.iter().for_each(|query| resumed.was_refused(query));
    refuse_left_over(&resumed, &queries).await;
    // Refusals of other queries stop the run.
    let mut stopped = 0;
    for index in 0..OWN_REFUSALS_ALIKE {
        let end = fail(&resumed, &format!("new{index}"), &refused("no such model")).await;
        stopped += usize::from(matches!(end, Err(Denied::Refused { .. })));
    }
    assert_eq!(stopped, 1);
}
