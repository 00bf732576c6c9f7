//! One question to every endpoint before anything is begun, and what to make of the answers.

use std::thread;

use super::Unusable;

/// Asks `probe` of every endpoint at the same time. One that can be used is enough, and the others are warned of;
/// otherwise what is best known of them is told. Gives the first endpoint that can be used.
pub(crate) fn survey(
    endpoints: &[String],
    probe: impl Fn(usize) -> Result<(), Unusable> + Sync,
) -> Result<usize, Unusable> {
    let probe = &probe;
    let found: Vec<Result<(), Unusable>> = thread::scope(|scope| {
        let asked: Vec<_> = (0..endpoints.len()).map(|at| scope.spawn(move || probe(at))).collect();
        asked.into_iter().map(|thread| thread.join().expect("no probe panics")).collect()
    });
    let first = found.iter().position(Result::is_ok);
    let failed = || endpoints.iter().zip(&found).filter_map(|(at, found)| Some((at, found.as_ref().err()?)));
    let Some(first) = first else {
        let best = failed().map(|(_, error)| error).max_by_key(|error| weight(error));
        let all = failed().map(|(at, error)| {
            if endpoints.len() == 1 { format!("{at}: {}", error.reasons()) } else { format!("{at}: {error}") }
        });
        let reasons = all.collect::<Vec<_>>().join("; ");
        return Err(match best {
            Some(best) => best.clone().with_reasons(reasons),
            None => Unusable::NobodyAnswers { reasons: "there is no endpoint".to_owned() },
        });
    };
    for (at, error) in failed() {
        log::warn!("the store's endpoint {at} cannot be used: {error}");
    }
    Ok(first)
}

/// How near an endpoint came to being used: the nearest is what an operator has to look at.
fn weight(error: &Unusable) -> u8 {
    match error {
        Unusable::NobodyAnswers { .. } => 0,
        Unusable::AnotherServer { .. } => 1,
        Unusable::NoQuorum { .. } => 2,
        Unusable::NotServed { .. } => 3,
        Unusable::NotLetIn { .. } => 4,
        Unusable::NoPermission { .. } => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::survey;
    use crate::remote::Unusable;

    #[test]
    fn one_good_endpoint_is_enough_and_otherwise_the_nearest_is_told() {
        let nobody = || Unusable::NobodyAnswers { reasons: "refused".to_owned() };
        let closed = || Unusable::NotLetIn { reasons: "401".to_owned() };
        let check = |found: &[Result<(), Unusable>], expected: Result<usize, &str>| {
            let endpoints: Vec<String> = (0..found.len()).map(|at| format!("e{at}")).collect();
            let told = survey(&endpoints, |at| found[at].clone()).map_err(|error| error.to_string());
            assert_eq!(told, expected.map_err(ToOwned::to_owned));
        };
        check(&[Ok(())], Ok(0));
        check(&[Err(nobody()), Ok(())], Ok(1));
        check(&[Err(nobody())], Err("nobody answers: e0: refused"));
        let both = "it does not let us in: e0: nobody answers: refused; e1: it does not let us in: 401";
        check(&[Err(nobody()), Err(closed())], Err(both));
    }
}
