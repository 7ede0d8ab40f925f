//! The page's files, as they are in `page/`: part of the program, no build step, nothing from elsewhere.

/// A file of the page by its path: media type and text.
pub fn find(path: &str) -> Option<(&'static str, &'static str)> {
    Some(match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/style.css" => (CSS, include_str!("page/style.css")),
        "/icon.svg" => ("image/svg+xml", include_str!("page/icon.svg")),
        "/openapi.json" => ("application/json", include_str!("../../control/openapi.json")),
        "/js/main.js" => (JS, include_str!("page/main.js")),
        "/js/dom.js" => (JS, include_str!("page/dom.js")),
        "/js/api.js" => (JS, include_str!("page/api.js")),
        "/js/identity.js" => (JS, include_str!("page/identity.js")),
        "/js/rotation.js" => (JS, include_str!("page/rotation.js")),
        "/js/messages.js" => (JS, include_str!("page/messages.js")),
        "/js/reports.js" => (JS, include_str!("page/reports.js")),
        _ => return None,
    })
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
