"""Why a job would run, and what two artifacts differ in. Reads manifests alone; never imports torch."""
