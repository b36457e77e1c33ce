//! What decides whether, where and how much is exported: the configuration and the OTEL_* variables.

use testkit::otlp::Receiver;

use crate::net::{Net, notes};
use crate::program::{Ended, Place};
use crate::traces::roots;

/// A sync with a relay of a few notes.
fn synced(place: &Place) -> Ended {
    let net = Net::of([notes(20)]);
    let ended = place.run(&["sync", net.url(0)]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

fn place() -> Place {
    Place::with_config("limits.allow_private_addresses = true\n")
}

#[test]
fn the_variables_alone_suffice() {
    let receiver = Receiver::start().expect("a port");
    let place = place()
        .var("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint())
        .var("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20sesame")
        .var("OTEL_SERVICE_NAME", "blue")
        .var("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,service.instance.id=one");
    let ended = synced(&place);
    let spans = receiver.spans();
    assert_eq!(roots(&spans).len(), 1);
    for (name, value) in [("service.name", "blue"), ("deployment.environment", "test"), ("service.instance.id", "one")]
    {
        assert_eq!(spans[0].resource[name], value, "{name}");
    }
    assert_eq!(receiver.heads()[0].header("authorization"), Some("Bearer sesame"));
    assert!(ended.stderr.contains("traces are exported") && !ended.stderr.contains("sesame"), "{ended:?}");
}

#[test]
fn nothing_is_exported_where_it_is_switched_off_or_not_sampled() {
    let receiver = Receiver::start().expect("a port");
    for vars in [
        &[("OTEL_SDK_DISABLED", "true")] as &[_],
        &[("OTEL_TRACES_EXPORTER", "none")],
        &[("OTEL_TRACES_SAMPLER", "always_off")],
        &[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")],
        &[("GRASP_SYNC_TELEMETRY__SAMPLE_RATIO", "0.0"), ("OTEL_TRACES_SAMPLER", "always_on")],
        &[("GRASP_SYNC_TELEMETRY__OTLP_ENDPOINT", "")],
    ] {
        let place = place().var("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint());
        synced(&vars.iter().fold(place, |place, (name, value)| place.var(name, value)));
        assert_eq!(receiver.spans().len(), 0, "{vars:?}");
    }
    synced(&place().var("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint()).var("OTEL_TRACES_SAMPLER", "always_on"));
    assert_eq!(roots(&receiver.spans()).len(), 1);
}

#[test]
fn a_variable_that_cannot_be_followed_is_named_and_the_work_is_done() {
    let receiver = Receiver::start().expect("a port");
    let place =
        place().var("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint()).var("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let ended = synced(&place);
    assert!(ended.stderr.contains("no traces are exported"), "{ended:?}");
    assert!(ended.stderr.contains("OTEL_EXPORTER_OTLP_PROTOCOL=`grpc`: must be `http/protobuf`"), "{ended:?}");
    assert_eq!(receiver.spans().len(), 0);
}

#[test]
fn the_variables_stand_between_the_file_and_the_program_s_own() {
    let file = "[telemetry]\notlp_endpoint = \"http://file:4318\"\nservice_name = \"file\"\nsample_ratio = 0.5\n";
    let value = |place: &Place, key: &str| {
        let shown = place.shown(&[]);
        let row = &shown[format!("telemetry.{key}")];
        (row["value"].clone(), row["source"].as_str().expect("a text").to_owned())
    };
    let place = Place::with_config(file)
        .var("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318")
        .var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/x")
        .var("OTEL_RESOURCE_ATTRIBUTES", "service.name=attribute")
        .var("OTEL_TRACES_SAMPLER", "traceidratio")
        .var("OTEL_TRACES_SAMPLER_ARG", "0.25");
    let from = |name: &str| format!("environment variable {name}");
    assert_eq!(
        value(&place, "otlp_endpoint"),
        ("http://traces:4318/x".into(), from("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    );
    assert_eq!(value(&place, "service_name"), ("attribute".into(), from("OTEL_RESOURCE_ATTRIBUTES")));
    assert_eq!(value(&place, "sample_ratio"), (0.25.into(), from("OTEL_TRACES_SAMPLER_ARG")));
    let place = place
        .var("OTEL_SERVICE_NAME", "name")
        .var("GRASP_SYNC_TELEMETRY__OTLP_ENDPOINT", "http://own:4318")
        .var("GRASP_SYNC_TELEMETRY__SAMPLE_RATIO", "0.75");
    assert_eq!(value(&place, "service_name"), ("name".into(), from("OTEL_SERVICE_NAME")));
    let own = ("http://own:4318".into(), from("GRASP_SYNC_TELEMETRY__OTLP_ENDPOINT"));
    assert_eq!(value(&place, "otlp_endpoint"), own);
    assert_eq!(value(&place, "sample_ratio").0, 0.75);
    let place = Place::with_config(file).var("OTEL_EXPORTER_OTLP_ENDPOINT", "").var("OTEL_TRACES_SAMPLER", " ");
    assert_eq!(value(&place, "otlp_endpoint").0, "http://file:4318", "an empty one counts as not set");
    assert_eq!(value(&place, "sample_ratio").0, 0.5);
}

#[test]
fn a_sampler_or_an_address_that_cannot_be_is_refused_with_its_variable() {
    for (name, value, key) in [
        ("OTEL_TRACES_SAMPLER", "xray", "telemetry.sample_ratio"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "telemetry.otlp_endpoint"),
    ] {
        let said = Place::new().var(name, value).refused();
        assert!(said.contains(key) && said.contains(value) && said.contains(&format!("variable {name}")), "{said}");
    }
    for sampler in ["xray", "0.5", "parentbased_"] {
        let said = Place::new().var("OTEL_TRACES_SAMPLER", sampler).refused();
        assert!(said.contains("must be always_on, always_off or traceidratio"), "{said}");
    }
    let said = Place::new().var("OTEL_TRACES_SAMPLER", "traceidratio").var("OTEL_TRACES_SAMPLER_ARG", "2").refused();
    assert!(said.contains("OTEL_TRACES_SAMPLER_ARG") && said.contains("0.0 to 1.0"), "{said}");
}

#[test]
fn credentials_in_the_address_are_shown_nowhere() {
    let receiver = Receiver::start().expect("a port");
    let endpoint = receiver.endpoint().replace("http://", "http://me:sesame@");
    let place =
        Place::with_config(&format!("limits.allow_private_addresses = true\ntelemetry.otlp_endpoint = {endpoint:?}\n"));
    for flags in [&["config", "show"] as &[_], &["config", "show", "--json"], &["config", "check"]] {
        let ended = place.run(flags);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!format!("{ended:?}").contains("sesame"), "{ended:?}");
    }
    let ended = synced(&place);
    assert!(!format!("{ended:?}").contains("sesame") && ended.stderr.contains("***@"), "{ended:?}");
    assert_eq!(receiver.heads()[0].header("authorization"), Some("Basic bWU6c2VzYW1l"));
    let said = Place::with_config("telemetry.otlp_endpoint = \"ftp://me:sesame@c.example\"").refused();
    assert!(!said.contains("sesame") && said.contains("telemetry.otlp_endpoint"), "{said}");
}
