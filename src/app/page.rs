//! The page: the three files that `clients/web` bundles, carried in the binary.
//!
//! The bundle is committed and CI compares it with its sources, so a build
//! needs no Node. A browser asks again each time, so that it never runs the
//! page of another build; what the page loads comes from this origin alone.

use axum::Router;
use axum::http::header;
use axum::routing::get;

struct File {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const FILES: [File; 3] = [
    File {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("../../clients/web/dist/index.html"),
    },
    File {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../clients/web/dist/app.js"),
    },
    File {
        path: "/app.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../clients/web/dist/app.css"),
    },
];

const ONLY_THIS_ORIGIN: &str = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |router, file| {
        let headers = [
            (header::CONTENT_TYPE, file.content_type),
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, ONLY_THIS_ORIGIN),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        router.route(file.path, get(move || async move { (headers, file.bytes) }))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use http::{Request, StatusCode};
    use tower::ServiceExt as _;

    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    #[tokio::test]
    async fn the_page_and_all_it_names_are_served() {
        let mut named = 0;
        for file in FILES {
            let request = Request::get(file.path).body(Body::empty()).unwrap();
            let response = routes().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let said = |name| response.headers().get(name).unwrap().to_str().unwrap();
            assert_eq!(said(header::CONTENT_TYPE), file.content_type);
            assert_eq!(said(header::CACHE_CONTROL), "no-cache");
            assert!(said(header::CONTENT_SECURITY_POLICY).starts_with("default-src 'self'"));
            let bytes = to_bytes(response.into_body(), BYTES_MAX).await.unwrap();
            assert_eq!(bytes, file.bytes);
            if file.path == "/" {
                let html = std::str::from_utf8(&bytes).unwrap();
                named = html.matches("\"app.").count();
            }
        }
        assert_eq!(named, FILES.len() - 1, "the page names every other file");
    }
}
