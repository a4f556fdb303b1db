use std::collections::BTreeSet;

use super::*;

#[tokio::test]
async fn the_description_is_served() {
    let node = Node::new();
    let answer = node.send(get("/openapi.json")).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.body, crate::openapi::openapi_json());
    assert_eq!(crate::openapi::openapi_json(), crate::openapi::openapi_json());
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let description: Value = serde_json::from_str(&crate::openapi::openapi_json()).unwrap();
    let mut found = BTreeSet::new();
    references(&description, &mut found);
    assert!(found.contains("#/components/schemas/Problem"));
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn every_operation_is_described_whole() {
    let description: Value = serde_json::from_str(&crate::openapi::openapi_json()).unwrap();
    let mut count = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(operation["summary"].is_string() && operation["operationId"].is_string(), "{name}");
            if !path.starts_with("/projections") {
                continue;
            }
            count += 1;
            for status in ["400", "401", "403", "405", "429", "503"] {
                assert!(operation["responses"][status].is_object(), "{name} {status}");
            }
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            assert!(parameters.iter().all(|parameter| parameter["schema"]["type"].is_string()), "{name}");
            for parameter in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                assert!(parameters.iter().any(|known| known["name"] == parameter && known["in"] == "path"), "{name}");
            }
        }
    }
    assert_eq!(count, 11);
}

#[tokio::test]
async fn the_pages_load_nothing_from_elsewhere() {
    let node = Node::new();
    let redirect = node.send(get("/docs")).await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (308, "/docs/"));
    let page = node.send(get("/docs/")).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    let links = html.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css"));
    for link in links {
        assert!(!link.contains("//"), "{link}");
        assert_eq!(node.send(get(&format!("/docs/{}", link.trim_start_matches("./")))).await.status, 200, "{link}");
    }
    assert!(!html.contains("http://") && !html.contains("https://"), "{html}");
    let script = node.send(get("/docs/swagger-initializer.js")).await;
    let script = String::from_utf8(script.body.to_vec()).unwrap();
    assert!(script.contains("/openapi.json") && script.contains("\"validatorUrl\": \"none\""), "{script}");
    node.send(get("/docs/nothing.js")).await.problem("no-such-route");
}
