//! Requests at random: those that clients send, and every kind of nonsense.

use super::raw::Request;

/// Numbers that look random, and are the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// True in so many of a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const SEGMENTS: &[&str] = &["a", "b", "ab", "_h", "c%20d", "%C3%A4", "x+y", "0"];
const FLAGS: &[&str] = &["true", "false", "1", "0", "t", "F", "True", "TRUE"];
const NONSENSE: &[&str] =
    &["", "maybe", "2", "tRue", "yes", "-1", "+1", "1.5", "0x10", "%20", "%00", "%C3%A4", "%ff"];
const VALUES: &[&str] =
    &["", "1", "2", "a+b", "%26%3D%3B", "%C3%A4", "%ff%e2%82", "%22%5C%0A", "%3C%3E", "x=y"];
const BROKEN: &[&str] = &["%", "%zz", "%4", "a;b", ";", "a=1;b=2", "%ff=%", "=", "&&", "==", "%22%"];
const TYPES: &[&str] = &[
    "text/plain",
    "application/json",
    "application/x-www-form-urlencoded; charset=utf-8",
    "APPLICATION/x-www-form-urlencoded",
    "application/x-www-form-urlencoded;",
    "application/x-www-form-urlencoded; a",
    "application/x-www-form-urlencoded; a=1; a=2",
    "multipart/form-data; boundary=x",
    "/",
    "a b",
    "a/",
    "a/b c",
    "x",
    ";",
];
/// What is not under `/v2/keys`. Of etcd's own numbers only the shape can be the same: see `WANTED`.
const OTHERS: &[&str] = &[
    "/",
    "/v2",
    "/v2/",
    "/v2/keysx",
    "/v2/key",
    "/v4/x",
    "/nope",
    "/version",
    "/version/",
    "/health",
    "/v2/machines",
    "/v2/machines/",
    "/v2/members",
    "/v2/members/",
    "/v2/members/leader",
    "/v2/members/xyz",
    "/v2/stats/self",
    "/v2/stats/store",
    "/v2/stats/leader",
    "/v2/stats",
    "/v2/stats/nope",
    "/V2/keys/a",
    "/v2/%6beys/a",
    "/v2/keys%2Fa",
];
/// What is asked below; a `+` before it stands for what is in `parameters` more often.
const METHODS: &[&str] = &["GET", "GET", "GET", "PUT", "PUT", "PUT", "PUT", "DELETE", "POST", "HEAD"];

/// One request at random.
pub fn request(random: &mut Random) -> Request {
    let method = if random.percent(2) {
        random.pick(&["PATCH", "OPTIONS", "TRACE", "FOO"])
    } else {
        random.pick(METHODS)
    };
    let mut parameters = parameters(random, method);
    if random.percent(2) {
        parameters.insert(random.below(parameters.len() + 1), random.pick(BROKEN).to_owned());
    }
    let path = path(random);
    if random.percent(3) {
        let method = random.pick(&["GET", "HEAD", "PUT", "DELETE", "PATCH"]);
        // etcd's members can be changed, and are needed.
        let path = random.pick(OTHERS);
        let method = if path.starts_with("/v2/members") && method != "HEAD" { "GET" } else { method };
        return Request::new(method, path, "");
    }
    let (mut query, mut form) = (Vec::new(), Vec::new());
    let in_form = matches!(method, "PUT" | "POST") && random.percent(80);
    for parameter in parameters {
        if in_form && random.percent(90) { form.push(parameter) } else { query.push(parameter) }
    }
    if form.is_empty() && random.percent(5) {
        form.push("value=in+the+body".to_owned());
    }
    // Go closes the connection on such a path without reading the body, which may reset it under the answer.
    if path.ends_with('%') || path.contains("%zz") {
        form.clear();
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let mut request = Request::new(method, &format!("{path}{query}"), &form.join("&"));
    if random.percent(3) {
        request.content_type = random.percent(80).then(|| random.pick(TYPES).to_owned());
    }
    request
}

fn path(random: &mut Random) -> String {
    let mut path = "/v2/keys".to_owned();
    let depth = if random.percent(1) { 20 } else { random.below(4) };
    for _ in 0..depth {
        let slash = match random.below(200) {
            0 => "//",
            1 => "%2F",
            2 => "/./",
            3 => "/../",
            _ => "/",
        };
        path = path + slash + random.pick(SEGMENTS);
    }
    if random.percent(5) {
        path.push('/');
    }
    if random.percent(1) {
        path += random.pick(&["%", "%zz", "/..", "/%2e%2e/", "/%2E", "//", "/../../..", "/a//"]);
    }
    path
}

fn parameters(random: &mut Random, method: &str) -> Vec<String> {
    let mut parameters = Vec::new();
    let mut add = |random: &mut Random, percent: usize, name: &str, values: &[&str]| {
        if random.percent(percent) {
            let value = if random.percent(6) { random.pick(NONSENSE) } else { random.pick(values) };
            parameters.push(format!("{name}={value}"));
            // The first counts.
            if random.percent(3) {
                parameters.push(format!("{name}={}", random.pick(NONSENSE)));
            }
        }
    };
    let writes = matches!(method, "PUT" | "POST");
    let often = |yes: bool, percent: usize| if yes { percent } else { 2 };
    let back: Vec<String> = (0..12).map(|back| format!("{{-{back}}}")).collect();
    let mut indices: Vec<&str> = back.iter().map(String::as_str).collect();
    indices.extend(["0", "999999999"]);
    let refreshes = writes && random.percent(10);
    if refreshes {
        add(random, 100, "refresh", FLAGS);
        add(random, 90, "ttl", &["1000", "2000"]);
    }
    add(random, if refreshes { 5 } else { often(writes, 85) }, "value", VALUES);
    // Shorter ones would end while they are compared; a refresh that makes a directory is wanted to differ.
    add(random, often(writes && !refreshes, 15), "ttl", &["1000", "", "2000", "00500"]);
    if !refreshes {
        add(random, often(true, if writes { 15 } else { 20 }), "dir", FLAGS);
    }
    add(random, often(method == "PUT", 25), "prevExist", FLAGS);
    add(random, often(matches!(method, "PUT" | "DELETE"), 15), "prevValue", VALUES);
    add(random, often(matches!(method, "PUT" | "DELETE"), 15), "prevIndex", &indices);
    add(random, often(!writes, 30), "recursive", FLAGS);
    add(random, 5, "sorted", FLAGS);
    add(random, 5, "quorum", FLAGS);
    add(random, 8, "noValueOnSuccess", FLAGS);
    add(random, 2, "stream", FLAGS);
    if method == "GET" && random.percent(15) {
        add(random, 100, "wait", &["true"]);
        add(random, 96, "waitIndex", &indices);
    } else {
        add(random, 1, "wait", FLAGS);
        add(random, 2, "waitIndex", &indices);
    }
    parameters.iter_mut().for_each(remove_short_ttl);
    parameters
}

/// Among the nonsense are numbers; as a TTL they would be none.
fn remove_short_ttl(parameter: &mut String) {
    if parameter == "ttl=2" {
        *parameter = "ttl=two".to_owned();
    }
}
