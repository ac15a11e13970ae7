HEAD
def test_figures_and_arrays(page: Path, runs: Path):
    drawn = {path.name for path in page.parent.iterdir() if path.suffix in (".svg", ".pdf", ".npz")}
    names = ("path", "heads", "influence", "distance")
    assert drawn == {f"explore-{name}.{kind}" for name in names for kind in ("svg", "pdf")} | {"explore.npz"}
    assert "Layer 2, head 4" in page.with_name("explore-heads.svg").read_text()
    run, params = export_module.load(runs / "attention")
    with np.load(page.with_suffix(".npz")) as kept:
        tokens = kept["tokens"]
        assert "".join(run.task.names[token] for token in tokens) == NASTY
        for name, x in activations.named_arrays(activations.capture_activations(run, params, tokens)).items():
            np.testing.assert_allclose(kept[f"attention/{name}"], x, rtol=1e-6)
        assert kept["lstm/occlusion"].shape == (len(NASTY), len(NASTY))
        assert "lstm/block_0.weights" not in kept


