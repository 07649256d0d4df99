def test_it(redis):
    assert redis.ping()
