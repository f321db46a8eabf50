# SPDX-License-Identifier: Apache-2.0
"""How GitHub tells about alerts."""

from __future__ import annotations

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import Alert, Repository
from tap_github.sandbox.shapes.form import WEB, Json, zulu_or_none
from tap_github.sandbox.shapes.repositories import repository_url


def _alert(repository: Repository, one: Alert, kind: str) -> Json:
    url = f"{repository_url(repository)}/{kind}/alerts/{one.number}"
    return {
        "number": one.number,
        "state": "fixed" if one.fixed_at else "open",
        "url": url,
        "html_url": f"{WEB}/{repository.full_name}/security/{kind}/{one.number}",
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "fixed_at": zulu_or_none(one.fixed_at),
        "dismissed_at": None,
        "dismissed_by": None,
        "dismissed_reason": None,
        "dismissed_comment": None,
    }


def dependabot_alert(repository: Repository, one: Alert) -> Json:
    """An alert about a vulnerable dependency."""
    package = {"ecosystem": "npm", "name": one.subject}
    vulnerability = {
        "package": package,
        "severity": one.severity,
        "vulnerable_version_range": "< 4.17.21",
        "first_patched_version": {"identifier": "4.17.21"},
    }
    ghsa, cve = "GHSA-2a2b-3c3d-4e4f", "CVE-2024-00001"
    return {
        **_alert(repository, one, "dependabot"),
        "dependency": {
            "package": package,
            "manifest_path": "package-lock.json",
            "scope": "runtime",
            "relationship": "direct",
        },
        "security_advisory": {
            "ghsa_id": ghsa,
            "cve_id": cve,
            "summary": f"Injection in {one.subject}",
            "description": f"{one.subject} lets input through.",
            "severity": one.severity,
            "identifiers": [{"type": "GHSA", "value": ghsa}, {"type": "CVE", "value": cve}],
            "references": [{"url": f"{WEB}/advisories/{ghsa}"}],
            "published_at": zulu(one.created_at),
            "updated_at": zulu(one.created_at),
            "withdrawn_at": None,
            "vulnerabilities": [vulnerability],
            "cvss": {"score": 7.2, "vector_string": None},
            "cwes": [{"cwe_id": "CWE-94", "name": "Code Injection"}],
        },
        "security_vulnerability": vulnerability,
        "auto_dismissed_at": None,
    }


def code_scanning_alert(repository: Repository, one: Alert) -> Json:
    """A finding of code scanning."""
    common = _alert(repository, one, "code-scanning")
    path = f"src/{one.subject.partition('/')[2].replace('-', '_')}.py"
    return {
        **common,
        "instances_url": f"{common['url']}/instances",
        "rule": {
            "id": one.subject,
            "severity": "error",
            "description": one.subject,
            "name": one.subject,
            "tags": ["security"],
            "security_severity_level": one.severity,
        },
        "tool": {"name": "CodeQL", "guid": None, "version": "2.19.3"},
        "most_recent_instance": {
            "ref": "refs/heads/main",
            "analysis_key": ".github/workflows/codeql.yml:analyze",
            "environment": "{}",
            "category": ".github/workflows/codeql.yml:analyze",
            "state": common["state"],
            "commit_sha": repository.commits[0].sha,
            "message": {"text": "This value comes from the outside."},
            "location": {
                "path": path,
                "start_line": 10 + one.number,
                "end_line": 10 + one.number,
                "start_column": 5,
                "end_column": 20,
            },
            "classifications": [],
        },
    }
