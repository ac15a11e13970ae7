from data.sources import shakespeare, titles


def test_every_work_has_a_title_a_kind_and_a_year():
    assert list(titles.WORKS) == sorted(shakespeare.read_source())
    assert len(set(titles.TITLES)) == 42
    assert {kind for _, kind, _ in titles.WORKS.values()} == {"comedy", "history", "tragedy", "poem"}
    assert all(1589 <= year <= 1614 for _, _, year in titles.WORKS.values())


def test_passages_do_not_say_who_speaks():
    hamlet = titles.read_source()["hamlet"]
    assert all(len(passage) == titles.PASSAGE_LENGTH for passage in hamlet)
    words = [word for passage in hamlet for word in passage]
    assert "ham" not in words
    assert words.count("hamlet") < 120, "but others name him"
    assert titles.STAGE_DIRECTION.sub(" ", "Ber.\nWho's there? [Exit Ghost.]\n  KING RICHARD. I am.").split() == [
        *("Who's", "there?", "I", "am.")
    ]
