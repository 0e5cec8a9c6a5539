namespace Mesh.Ztunnel.Dns;

public sealed class DnsProxyOptionsTests
{
    [Fact]
    public void The_defaults_are_allowed() => Assert.Null(new DnsProxyOptions().Validate());

    [Fact]
    public void A_wrong_setting_is_named_with_its_value_and_what_is_allowed()
    {
        Assert.StartsWith("ClusterDomain is 'a..b'; allowed are domain names", new DnsProxyOptions { ClusterDomain = "a..b" }.Validate());
        Assert.StartsWith("SearchDomains is ''; allowed are domain names", new DnsProxyOptions { SearchDomains = ["a", ""] }.Validate());
        Assert.Equal("MaxTcpConnections is 0; allowed is 1 or more", new DnsProxyOptions { MaxTcpConnections = 0 }.Validate());
        Assert.Equal("MaxConcurrentQueries is 0; allowed is 1 or more", new DnsProxyOptions { MaxConcurrentQueries = 0 }.Validate());
        Assert.Equal("MaxUpstreamQueries is -1; allowed is 1 or more", new DnsProxyOptions { MaxUpstreamQueries = -1 }.Validate());
        Assert.Equal("MaxCacheEntries is -1; allowed is 0 or more", new DnsProxyOptions { MaxCacheEntries = -1 }.Validate());
        Assert.Equal("UpstreamTimeout is 00:00:00; allowed is more than nothing, up to a day", new DnsProxyOptions { UpstreamTimeout = TimeSpan.Zero }.Validate());
        Assert.Equal("IdleTimeout is 2.00:00:00; allowed is more than nothing, up to a day", new DnsProxyOptions { IdleTimeout = TimeSpan.FromDays(2) }.Validate());
    }

    [Fact]
    public void Resolv_conf_has_name_servers_and_search_domains()
    {
        var conf = ResolvConf.Parse(
        [
            "# nameserver 192.0.2.1",
            "domain old.example",
            "nameserver 10.96.0.10",
            " nameserver\tfd00::a  ",
            "nameserver 10.1",
            "nameserver fe80::1%1",
            "nameserver 192.0.2.4",
            "search ns1.svc.cluster.local svc.cluster.local. .",
            "options ndots:5",
        ]);
        Assert.Equal(["10.96.0.10:53", "[fd00::a]:53", "[fe80::1%1]:53"], conf.NameServers.Select(server => server.ToString()));
        Assert.Equal<string>(["ns1.svc.cluster.local", "svc.cluster.local"], conf.SearchDomains);
    }

    [Fact]
    public void A_resolv_conf_that_is_not_there_says_nothing() => Assert.Empty(ResolvConf.Read("/does/not/exist").NameServers);
}
