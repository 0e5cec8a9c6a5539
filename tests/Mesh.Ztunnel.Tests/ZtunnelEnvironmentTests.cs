using System.Net;
using Mesh.Testing;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel;

/// <summary>Settings under the names of Istio's ztunnel. What is refused is tested on the executable.</summary>
public sealed class ZtunnelEnvironmentTests
{
    // Whether it is a mesh is looked at later.
    private static readonly string AnyFile = typeof(ZtunnelEnvironmentTests).Assembly.Location;

    [Fact]
    public void The_defaults_are_those_of_ztunnel()
    {
        var options = Read().Options;
        Assert.Equal(TimeSpan.FromSeconds(5), options.TerminationDeadline);
        Assert.Equal(100, options.Pool.MaxStreamsPerConnection);
        Assert.Equal(TimeSpan.FromMinutes(5), options.Pool.UnusedReleaseTimeout);
        Assert.Equal((4194304, 16777216, 1048576), (options.Hbone.StreamWindowSize, options.Hbone.ConnectionWindowSize, options.Hbone.MaxFrameSize));
        Assert.Equal(new Hbone.Transport.TcpKeepAlive(TimeSpan.FromMinutes(3), TimeSpan.FromMinutes(3), 9), options.Sockets.KeepAlive);
        Assert.False(options.Socks5Enabled);
        Assert.True(options.ResponseBaggage);
        Assert.Null(options.ListenAddress);
        Assert.Empty(options.TrustDomainAliases.Names);
    }

    [Fact]
    public void Trust_domain_aliases_are_separated_by_commas() =>
        Assert.Equal("old.example, partner.example", Read(("TRUST_DOMAIN_ALIASES", "old.example, partner.example")).Options.TrustDomainAliases.ToString());

    [Fact]
    public void A_wrong_trust_domain_alias_is_told() => Assert.Equal(
        ["TRUST_DOMAIN_ALIASES is 'old.example,*.example'; allowed: trust domains, separated by commas (trust domain '*.example' contains '*'; allowed are a-z, 0-9, '.', '-', '_')"],
        Read(("TRUST_DOMAIN_ALIASES", "old.example,*.example")).Errors);

    [Fact]
    public void Each_setting_reaches_its_option()
    {
        var environment = Read(
            ("PROXY_MODE", "dedicated"), ("NODE_NAME", "n1"), ("NETWORK", "net"), ("MESH_LISTEN_ADDRESS", "127.0.0.9"), ("UNSTABLE_ENABLE_SOCKS5", "true"), ("LOG_FORMAT", "json"),
            ("POOL_MAX_STREAMS_PER_CONNECTION", "7"), ("POOL_UNUSED_RELEASE_TIMEOUT", "90s"), ("HTTP2_FRAME_SIZE", "16384"), ("KEEPALIVE_ENABLED", "false"),
            ("ENABLE_RESPONSE_BAGGAGE", "false"), ("SECRET_TTL", "1h30m"), ("IPV6_ENABLED", "0"));
        Assert.Empty(environment.Errors);
        Assert.Equal([new WorkloadInfo("shop", "web-0", "web")], environment.Options.Workloads);
        Assert.Equal(("n1", "net", true, false), (environment.Options.NodeName, environment.Options.Network, environment.Options.Socks5Enabled, environment.Options.IPv6Enabled));
        Assert.Equal(IPAddress.Parse("127.0.0.9"), environment.Options.ListenAddress);
        Assert.Equal((7, TimeSpan.FromSeconds(90)), (environment.Options.Pool.MaxStreamsPerConnection, environment.Options.Pool.UnusedReleaseTimeout));
        Assert.Equal(16384, environment.Options.Hbone.MaxFrameSize);
        Assert.Null(environment.Options.Sockets.KeepAlive);
        Assert.False(environment.Options.ResponseBaggage);
        Assert.Equal(TimeSpan.FromMinutes(90), environment.CertificateLifetime);
        Assert.Equal(LogFormat.Json, environment.LogFormat);
    }

    [Theory]
    [InlineData("30", null, 25)]
    [InlineData("11", null, 6)]
    [InlineData("10", null, 9)]
    [InlineData("1", null, 1)]
    [InlineData("30", "7s", 7)]
    [InlineData(null, null, 5)]
    public void The_deadline_follows_from_the_grace_period_unless_it_is_set(string? grace, string? deadline, int seconds) => Assert.Equal(
        TimeSpan.FromSeconds(seconds),
        Read(("TERMINATION_GRACE_PERIOD_SECONDS", grace ?? ""), ("CONNECTION_TERMINATION_DEADLINE", deadline ?? "")).Options.TerminationDeadline);

    [Fact]
    public void All_errors_are_told_at_once()
    {
        var environment = Read(("LOG_FORMAT", "xml"), ("IPV6_ENABLED", "maybe"), ("RUST_LOG", "loud"));
        Assert.Equal(
            [
                "IPV6_ENABLED is 'maybe'; allowed: true, false",
                "LOG_FORMAT is 'xml'; allowed: plain, json",
                "RUST_LOG is 'loud'; allowed: error, warn, info, debug, trace, off, each alone or as target=level",
            ],
            environment.Errors);
    }

    [Theory]
    [InlineData("", "access", LogLevel.Information, true)]
    [InlineData("", "access", LogLevel.Debug, false)]
    [InlineData("debug", "access", LogLevel.Debug, true)]
    [InlineData("warn,access=debug", "access", LogLevel.Debug, true)]
    [InlineData("warn,access=debug", "Mesh.Ztunnel.Outbound", LogLevel.Information, false)]
    [InlineData("access=off", "access", LogLevel.Error, false)]
    [InlineData("", "Microsoft.AspNetCore.Server", LogLevel.Information, false)]
    public void Levels_are_set_for_all_or_for_a_target(string setting, string category, LogLevel level, bool logged) =>
        Assert.Equal(logged, Read(("RUST_LOG", setting)).LogLevels.IsLogged(category, level));

    [Theory]
    [InlineData("", 15000, 15020)]
    [InlineData("16000", 16000, 16000)]
    [InlineData("off", null, null)]
    public void Administration_and_metrics_have_ports_or_none(string setting, int? admin, int? stats)
    {
        var options = Read(("MESH_ADMIN_PORT", setting), ("MESH_STATS_PORT", setting)).Options;
        Assert.Equal((admin, stats), (options.AdminPort, options.StatsPort));
    }

    [Fact]
    public void A_port_of_administration_that_is_none_is_refused()
    {
        Assert.Equal(["MESH_ADMIN_PORT is '0'; allowed: whole numbers from 1 to 65535"], Read(("MESH_ADMIN_PORT", "0")).Errors);
        var options = new ZtunnelOptions { AdminPort = 0, StatsPort = 70_000 };
        options.Workloads.Add(new WorkloadInfo("shop", "web-0", "web"));
        Assert.Equal(
            ["AdminPort is 0; allowed are 1 to 65535", "StatsPort is 70000; allowed are 1 to 65535"],
            new ZtunnelOptionsValidator().Validate(null, options).Failures);
    }

    [Theory]
    [InlineData("5m", 300_000)]
    [InlineData("1h30m", 5_400_000)]
    [InlineData("250ms", 250)]
    [InlineData("1d", 86_400_000)]
    [InlineData("", -1)]
    [InlineData("5", -1)]
    [InlineData("m", -1)]
    [InlineData("5 m", -1)]
    [InlineData("-5m", -1)]
    [InlineData("99999999999s", -1)]
    [InlineData("999999999d", -1)]
    public void Durations_are_read_as_ztunnel_writes_them(string text, int milliseconds) =>
        Assert.Equal(milliseconds, Core.Configuration.DurationText.TryParse(text, out var duration) ? duration.TotalMilliseconds : -1);

    [Fact]
    public void The_guide_lists_each_setting_as_it_is()
    {
        var guide = File.ReadLines(Path.Combine(Repository.Root, "docs", "ztunnel.md")).SkipWhile(line => line != "| setting | default | meaning |").Skip(2).TakeWhile(line => line.Length > 0);
        Assert.Equal(ZtunnelEnvironment.Settings.Select(setting => $"| {string.Join(", ", setting.Name.Split(", ").Select(name => $"`{name}`"))} | {setting.Default} | {setting.Meaning} |"), guide);
    }

    private static ZtunnelEnvironment Read(params (string Name, string Value)[] settings)
    {
        var variables = new Dictionary<string, string> { ["PROXY_WORKLOAD_INFO"] = "shop/web-0/web", ["LOCAL_XDS_PATH"] = AnyFile, ["MESH_DEVELOPMENT_CA"] = "ca" };
        foreach (var (name, value) in settings)
        {
            variables[name] = value;
        }

        return ZtunnelEnvironment.Read(variables);
    }
}
