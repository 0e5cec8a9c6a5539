namespace Mesh.Ztunnel;

/// <summary>Where settings come from beside the environment: the command line, and Istio's ProxyConfig (ztunnel §13).</summary>
public sealed class SettingSourcesTests
{
    private readonly List<string> _errors = [];

    [Theory]
    [InlineData("--NODE_NAME", "n1")]
    [InlineData("--NODE_NAME=n1")]
    [InlineData("ztunnel", "--NODE_NAME", "n1", "ignored")]
    public void The_command_line_sets_a_setting(params string[] args)
    {
        Assert.Equal("n1", SettingSources.Read(args, _errors)["NODE_NAME"]);
        Assert.Empty(_errors);
    }

    [Fact]
    public void An_unknown_setting_on_the_command_line_is_refused()
    {
        SettingSources.Read(["--NODENAME", "n1"], _errors);
        Assert.Equal("the command line sets 'NODENAME', which is no setting; --help lists them", Assert.Single(_errors));
    }

    [Fact]
    public void A_setting_without_a_value_is_refused()
    {
        SettingSources.Read(["--NODE_NAME"], _errors);
        Assert.Equal("the command line names 'NODE_NAME' without a value", Assert.Single(_errors));
    }

    [Fact]
    public void Every_setting_that_is_listed_is_known() =>
        Assert.All(ZtunnelEnvironment.Settings.SelectMany(setting => setting.Name.Split(", ")), name => Assert.True(ZtunnelEnvironment.IsKnown(name), name));

    [Fact]
    public void A_proxy_config_stands_for_settings()
    {
        var settings = ProxyConfig.Read("""{"proxyAdminPort": 15100, "statsPort": 15120, "concurrency": 3, "proxyMetadata": {"DNS_CAPTURE": "false", "ISTIO_META_X": "y"}}""", isMeshConfig: false);
        Assert.Equal(
            [("ISTIO_META_DNS_CAPTURE", "false"), ("ISTIO_META_X", "y"), ("MESH_ADMIN_PORT", "15100"), ("MESH_STATS_PORT", "15120"), ("ZTUNNEL_WORKER_THREADS", "3")],
            settings.Select(pair => (pair.Key, pair.Value)).Order());
    }

    [Fact]
    public void A_mesh_config_holds_a_proxy_config() => Assert.Equal(
        "5", ProxyConfig.Read("rootNamespace: istio-system\ndefaultConfig:\n  concurrency: 5\n", isMeshConfig: true)["ZTUNNEL_WORKER_THREADS"]);

    [Theory]
    [InlineData("")]
    [InlineData("rootNamespace: istio-system")]
    public void A_mesh_config_without_one_sets_nothing(string text) => Assert.Empty(ProxyConfig.Read(text, isMeshConfig: true));

    [Theory]
    [InlineData("[1, 2")]
    [InlineData("- a list")]
    public void What_is_no_proxy_config_is_refused(string text) => Assert.Throws<FormatException>(() => ProxyConfig.Read(text, isMeshConfig: false));

    // Of eight processors.
    [Theory]
    [InlineData("3", 0, 0, 3)]
    [InlineData("0", 0, 0, 8)]
    [InlineData("50%", 0, 0, 4)]
    [InlineData("1%", 0, 0, 1)]
    [InlineData("13%", 0, 0, 2)]
    [InlineData("100%", 0, 0, 8)]
    [InlineData(null, 0, 0, 2)]
    [InlineData(null, 4, 0, 4)]
    [InlineData(null, 4, 6, 6)]
    [InlineData(null, 6, 4, 6)]
    public void The_number_of_threads_follows_from_the_setting_or_from_the_processors(string? value, int request, int limit, int expected)
    {
        Assert.True(WorkerThreads.TryRead(value, request, limit, 8, out var count));
        Assert.Equal(expected, count);
    }

    [Theory]
    [InlineData("-1")]
    [InlineData("many")]
    [InlineData("0%")]
    [InlineData("101%")]
    [InlineData("1025")]
    public void What_is_no_number_of_threads_is_refused(string value) => Assert.False(WorkerThreads.TryRead(value, 0, 0, 8, out _));
}
