use crate::log::line::*;
use serde_json::json;

fn both(fields: &[Field<'_>]) -> (String, serde_json::Value) {
    let line = LogLine { word: "word", fields };
    let (mut text, mut json) = (String::new(), String::from("{"));
    line.text(&mut text);
    line.json(&mut json);
    json.push('}');
    (text, serde_json::from_str(&json).unwrap())
}

#[test]
fn a_line_says_the_same_in_both_forms() {
    let peer = Address::Inet("127.0.0.1:4711".parse().unwrap());
    let (text, json) = both(&[
        ("service", text("echo/tcp")),
        ("peer", LogValue::Peer(peer)),
        ("pid", LogValue::Pid(Some(12))),
        ("status", LogValue::Number(-1)),
        ("gone", LogValue::Word("here").when(false)),
        ("time", LogValue::Precise(Duration::from_micros(12_345))),
        ("delay", LogValue::Seconds(Duration::from_secs(61))),
        ("left_out", LogValue::Count(u64::MAX)),
        ("error", LogValue::Shown(&"two words")),
        ("line", LogValue::Quote(b"word \"\xff")),
        ("cut", LogValue::Yes),
    ]);
    assert_eq!(
        text,
        "word service=echo/tcp peer=127.0.0.1:4711 pid=12 status=-1 time=0.012s delay=61s \
         left_out=18446744073709551615 error=\"two words\" line=\"word \\\"\\xff\" cut=yes"
    );
    assert_eq!(
        json,
        json!({"event": "word", "service": "echo/tcp", "peer": "127.0.0.1:4711", "pid": 12,
            "status": -1, "time": 0.012, "delay": 61, "left_out": u64::MAX,
            "error": "two words", "line": "word \"\\xff", "cut": true})
    );
}

#[test]
fn what_is_not_there_or_not_known_is_null() {
    let (text, json) = both(&[
        ("peer", LogValue::Peer(Address::None)),
        ("pid", LogValue::Pid(None)),
        ("status", LogValue::Unknown),
    ]);
    assert_eq!(text, "word peer=- pid=- status=unknown");
    assert_eq!(json, json!({"event": "word", "peer": null, "pid": null, "status": null}));
}

#[test]
fn the_rest_of_a_line_has_a_key_in_json_only() {
    let (text, json) = both(&[("message", LogValue::Rest("file:1: no \"x\"\n"))]);
    assert_eq!(text, "word file:1: no \"x\"\\x0a");
    assert_eq!(json, json!({"event": "word", "message": "file:1: no \"x\"\n"}));
}

#[test]
fn times_have_milliseconds() {
    let (text, json) = both(&[("time", LogValue::Precise(Duration::from_secs(61)))]);
    assert_eq!((text.as_str(), &json["time"]), ("word time=61.000s", &json!(61.0)));
}

#[test]
fn other_messages_are_an_event_of_their_own() {
    let json = format!("{{{}}}", Message(&"polled \"7\"\n"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, json!({"event": "message", "message": "polled \"7\"\n"}));
}
